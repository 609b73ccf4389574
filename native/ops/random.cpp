#include "ops/random.h"

#include <cmath>

#include "cpu/random.h"
#include "cuda/random.h"
#include "ops/interpolant_path.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

RandomPosition position(const char* op, uint64_t seed, int64_t stream, uint64_t step) {
  require(stream >= 0 && stream <= 0xFFFFFFFFll, op, "stream is " + std::to_string(stream) + "; expected 32 bits, not negative.");
  require(step < uint64_t{1} << 48, op, "step is " + std::to_string(step) + "; expected less than 2^48.");
  return {seed, static_cast<uint32_t>(stream), step};
}

/// Elements (or samples) [first, first + count) of a sequence, of which core/philox.h has 2^50.
void requireElements(const char* op, int64_t first, int64_t count) {
  require(first >= 0 && first <= (int64_t{1} << 50) - count, op,
          "first is " + std::to_string(first) + "; expected not negative, and a last element below 2^50.");
}

using Fill = void (*)(ThreadPool&, const cpu::RandomFillArgs&);

/// On a CPU: out = offset + factor · number. The scaling is a plain loop of its own, product and sum rounded apart, so that a
/// model's first weights are the same bits at every CPU level.
void fillRandom(const char* op, const Tensor& out, double offset, double factor, const RandomPosition& at, int64_t first, Fill kernel) {
  const cpu::RandomFillArgs args{.out = out.f32(), .count = out.elements(), .position = at, .firstElement = first};
  cpuQueue(op, out).enqueue(op, [args, kernel, offset, factor](ThreadPool& pool) {
    kernel(pool, args);
    if (offset == 0 && factor == 1) return;
    for (int64_t i = 0; i < args.count; ++i) args.out[i] = static_cast<float>(offset + factor * static_cast<double>(args.out[i]));
  });
}

}  // namespace

void fillUniform(const Tensor& out, double low, double high, uint64_t seed, int64_t stream, uint64_t step, int64_t first) {
  const char* op = "fillUniform";
  const RandomPosition at = position(op, seed, stream, step);
  requireDType(op, "out", out, DType::f32);
  requireElements(op, first, out.elements());
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(out))
      return cuda->enqueue(op, [&](cudaStream_t queue) { cuda::fillUniform(queue, out, low, high - low, at, first); });
  fillRandom(op, out, low, high - low, at, first, cpu::randomKernels().uniform);
}

void fillNormal(const Tensor& out, double std, uint64_t seed, int64_t stream, uint64_t step, int64_t first) {
  const char* op = "fillNormal";
  const RandomPosition at = position(op, seed, stream, step);
  requireDType(op, "out", out, DType::f32);
  requireElements(op, first, out.elements());
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(out))
      return cuda->enqueue(op, [&](cudaStream_t queue) { cuda::fillNormal(queue, out, 0, std, at, first); });
  fillRandom(op, out, 0, std, at, first, cpu::randomKernels().normal);
}

void fillTimesteps(const Tensor& out, const std::string& weighting, const std::string& path, double shift, uint64_t seed, int64_t stream,
                   uint64_t step, int64_t first) {
  const char* op = "fillTimesteps";
  requireRank(op, "out", out, 1, "[B]");
  requireElements(op, first, out.size(0));
  require(weighting == "uniform" || weighting == "lognormal", op,
          "\"" + weighting + "\" is not a weighting: expected uniform or lognormal.");
  const auto timeWeighting = weighting == "uniform" ? cpu::TimeWeighting::uniform : cpu::TimeWeighting::lognormal;
  const cpu::InterpolantPath onPath = interpolantPathOf(op, path);
  require(shift > 0 && std::isfinite(shift), op, "shift is " + std::to_string(shift) + "; expected a number above 0.");
  const RandomPosition at = position(op, seed, stream, step);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(out))
      return cuda->enqueue(op, [&](cudaStream_t queue) {
        cuda::fillTimesteps(queue, out, timeWeighting == cpu::TimeWeighting::lognormal, onPath == cpu::InterpolantPath::cosine, shift, at,
                            first);
      });
  const cpu::TimestepsArgs args{.t = out.f32(), .batch = out.size(0), .weighting = timeWeighting, .path = onPath, .shift = shift,
                                .position = at, .firstSample = first};
  cpuQueue(op, out).enqueue(op, [args](ThreadPool& pool) { cpu::randomKernels().timesteps(pool, args); });
}

void fillIntegers(const Tensor& out, int64_t low, int64_t high, uint64_t seed, int64_t stream, uint64_t step, int64_t first) {
  const char* op = "fillIntegers";
  requireRank(op, "out", out, 1, "[B]", DType::i32);
  requireElements(op, first, out.size(0));
  require(low >= -(int64_t{1} << 31) && high <= int64_t{1} << 31 && high > low && high - low <= int64_t{1} << 24, op,
          "the range from " + std::to_string(low) + " to " + std::to_string(high) + " must be of 32-bit numbers and hold 1 to 2^24 of them.");
  const RandomPosition at = position(op, seed, stream, step);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(out))
      return cuda->enqueue(op, [&](cudaStream_t queue) { cuda::fillIntegers(queue, out, static_cast<int32_t>(low), high - low, at, first); });
  const cpu::IntegersArgs args{.out = out.i32(), .batch = out.size(0), .low = static_cast<int32_t>(low), .count = high - low, .position = at,
                               .firstSample = first};
  cpuQueue(op, out).enqueue(op, [args](ThreadPool& pool) { cpu::randomKernels().integers(pool, args); });
}

Tensor dropLabels(const Tensor& labels, double probability, int64_t nullClass, uint64_t seed, int64_t stream, uint64_t step,
                  int64_t first) {
  const char* op = "dropLabels";
  requireRank(op, "labels", labels, 1, "[B]", DType::i32);
  requireElements(op, first, labels.size(0));
  require(probability >= 0 && probability <= 1, op, "probability is " + std::to_string(probability) + "; expected 0 to 1.");
  require(nullClass >= -(int64_t{1} << 31) && nullClass < int64_t{1} << 31, op, "nullClass is " + std::to_string(nullClass) + "; expected a 32-bit number, as labels are.");
  const RandomPosition at = position(op, seed, stream, step);
  const Tensor out = Tensor::empty(labels.device(), labels.shape(), DType::i32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(labels)) {
      cuda->enqueue(op, [&](cudaStream_t queue) {
        cuda::dropLabels(queue, labels, probability, static_cast<int32_t>(nullClass), at, first, out);
      });
      return out;
    }
  const cpu::DropLabelsArgs args{.labels = labels.i32(), .out = out.i32(), .batch = labels.size(0), .probability = probability,
                                 .nullClass = static_cast<int32_t>(nullClass), .position = at, .firstSample = first};
  cpuQueue(op, labels).enqueue(op, [args](ThreadPool& pool) { cpu::randomKernels().dropLabels(pool, args); });
  return out;
}

void drawTokens(const Tensor& ids, const Tensor& places, uint64_t seed, int64_t stream, uint64_t step, int64_t first) {
  const char* op = "drawTokens";
  requireRank(op, "places", places, 2, "[B, N]", DType::i32);
  requireRank(op, "ids", ids, 2, "[B, M]", DType::i32);
  const int64_t batch = places.size(0), tokens = places.size(1), taken = ids.size(1);
  requireShape(op, "ids", ids, {batch, taken}, DType::i32);
  require(taken <= tokens, op,
          std::to_string(taken) + " of " + std::to_string(tokens) + " tokens are to be drawn; expected no more than there are.");
  requireElements(op, first, batch);
  require(first + batch <= (int64_t{1} << 50) / (tokens > 0 ? tokens : 1), op,
          "first is " + std::to_string(first) + "; expected not negative, and a last element below 2^50.");
  const RandomPosition at = position(op, seed, stream, step);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(places))
      return cuda->enqueue(op, [&](cudaStream_t queue) { cuda::drawTokens(queue, ids, places, at, first); });
  const cpu::DrawTokensArgs args{.ids = ids.i32(), .places = places.i32(), .batch = batch, .tokens = tokens, .taken = taken, .position = at,
                                 .firstSample = first};
  cpuQueue(op, places).enqueue(op, [args](ThreadPool& pool) { cpu::randomKernels().drawTokens(pool, args); });
}

}  // namespace repa::ops
