// Which of attention's kernels runs: FMAs for f32; for bf16 and f16 tensor cores: Hopper's own where it has a faster one, resident where a
// head fits into shared memory.
#include "cuda/attention.h"

#include <cmath>
#include <cstdlib>
#include <string>

#include "core/error.h"
#include "cuda/attention_arguments.h"
#include "cuda/cuda_device.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/partial_sums.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

/// A grid has at most 2^31 - 1 blocks; every block here has at least one head and some of its rows.
void requireGrid(int64_t batch, int64_t tokens, int64_t heads) {
  constexpr int64_t most = 0x7fffffff;
  constexpr int64_t rowsOfBlock = 16;
  if (tokens > most || heads > most || batch > most || batch * heads > most / ((tokens + rowsOfBlock - 1) / rowsOfBlock))
    throw Error(ErrorCode::shape, std::to_string(batch) + " samples of " + std::to_string(tokens) + " tokens in " +
                                      std::to_string(heads) +
                                      " heads are more blocks than a CUDA grid has (2^31 - 1); pass fewer samples at a time.");
}

int headDimOf(const Tensor& qkv, int64_t heads) { return static_cast<int>(qkv.size(2) / (3 * heads)); }

float scaleOf(int headDim) { return 1.0f / std::sqrt(static_cast<float>(headDim)); }

/// A row of a head begins a whole number of rows after the tensor, so the tensor's alignment and a whole number of units of 16
/// bytes in a row are enough.
template <class T, class... Pointers>
bool rowsAligned(int headDim, const Pointers*... pointers) {
  return headDim % (16 / sizeof(T)) == 0 && aligned16(pointers...);
}

/// What the environment variable REPA_ATTENTION asks for: the kernels that were measured to be the fastest, those of every tensor-core GPU or
/// Hopper's own wherever there is one, and of either the streamed ones even where a head fits into shared memory. No chip has timed Hopper's own
/// for 72 columns forward, nor its streamed ones; nor on sm_80 the streamed ones beside a head that is alone on its SM.
enum class Wish { fastest, mma, mmaStreamed, wgmma, wgmmaStreamed };

Wish wish() {
  const char* const text = std::getenv("REPA_ATTENTION");
  const std::string name = text ? text : "";
  if (name == "") return Wish::fastest;
  if (name == "mma") return Wish::mma;
  if (name == "mma-streamed") return Wish::mmaStreamed;
  if (name == "wgmma") return Wish::wgmma;
  if (name == "wgmma-streamed") return Wish::wgmmaStreamed;
  throw Error(ErrorCode::invalidArgument, "REPA_ATTENTION is \"" + name + "\"; expected mma, mma-streamed, wgmma or wgmma-streamed.");
}

/// Runs one of Hopper's own kernels where the tensor is and one is wanted. `timed`: whether the one that holds a whole head in shared memory
/// is known to be faster for such a head. False where another has to.
template <class Resident, class Streamed>
bool runHopper(const Tensor& x, bool timed, Resident&& resident, Streamed&& streamed) {
  const Wish asked = wish();
  const bool asksHopper = asked == Wish::wgmma || asked == Wish::wgmmaStreamed;
  const CudaDeviceInfo& device = static_cast<CudaDevice&>(x.device()).info();
  if (asksHopper) device.requireHopperFor(std::string("REPA_ATTENTION=") + std::getenv("REPA_ATTENTION"));
  if (!device.runsHopperKernels()) return false;
  if ((asked == Wish::wgmma || (asked == Wish::fastest && timed)) && resident()) return true;
  return asksHopper && streamed();
}

}  // namespace

void attention(cudaStream_t stream, const Tensor& qkv, int64_t heads, bool causal, const Tensor& o, const Tensor& lse) {
  const int64_t batch = qkv.size(0), tokens = qkv.size(1);
  if (o.elements() == 0) return;
  requireGrid(batch, tokens, heads);
  const int headDim = headDimOf(qkv, heads);
  withComputeType(qkv.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const AttentionForward<T> a{.qkv = elements<const T>(qkv),
                                .o = elements<T>(o),
                                .lse = lse.defined() ? lse.f32() : nullptr,
                                .batch = batch,
                                .tokens = static_cast<int>(tokens),
                                .heads = static_cast<int>(heads),
                                .headDim = headDim,
                                .scale = scaleOf(headDim),
                                .scaleLog2 = scaleOf(headDim) * kLog2E,
                                .aligned = rowsAligned<T>(headDim, elements<const T>(qkv), elements<const T>(o))};
    if constexpr (std::is_same_v<T, float>) {
      attentionF32(stream, a, causal);
    } else {
      // Hopper's own have no causal form: a text is short, and not what a step waits for.
      const bool taken = runHopper(
          o, headDim == 64, [&] { return !causal && attentionSm90(stream, a); }, [&] { return !causal && attentionStreamedSm90(stream, a); });
      if (!taken && (wish() == Wish::mmaStreamed || !attentionResident(stream, a, causal))) attentionStreamed(stream, a, causal);
    }
  });
}

bool attentionBackwardSums(const Tensor& qkv) { return qkv.dtype() != DType::f32; }

int64_t attentionBackwardScratchFloats(const Tensor& qkv, int64_t heads, bool sums) {
  const int64_t rows = streamedRowsOfBlock(headDimOf(qkv, heads)), parts = qkv.size(0) * ((qkv.size(1) + rows - 1) / rows);
  return 2 * qkv.size(0) * heads * qkv.size(1) + (sums ? parts * qkv.size(2) : 0);
}

void attentionBackward(cudaStream_t stream, const Tensor& dO, const Tensor& qkv, const Tensor& o, const Tensor& lse, int64_t heads,
                       float* scratch, const Tensor& dqkv, const std::optional<Tensor>& dBias, bool accumulate) {
  const int64_t batch = qkv.size(0), tokens = qkv.size(1);
  if (dqkv.elements() == 0) return;
  requireGrid(batch, tokens, heads);
  const int headDim = headDimOf(qkv, heads);
  float* const columnSums = dBias ? scratch + 2 * batch * heads * tokens : nullptr;
  withComputeType(qkv.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const AttentionBackward<T> a{
        .qkv = elements<const T>(qkv),
        .o = elements<const T>(o),
        .lse = lse.f32(),
        .dO = elements<const T>(dO),
        .dqkv = elements<T>(dqkv),
        .columnSums = columnSums,
        .delta = scratch,
        .factor = scratch + batch * heads * tokens,
        .batch = batch,
        .tokens = static_cast<int>(tokens),
        .heads = static_cast<int>(heads),
        .headDim = headDim,
        .scale = scaleOf(headDim),
        .scaleLog2 = scaleOf(headDim) * kLog2E,
        .aligned = rowsAligned<T>(headDim, elements<const T>(qkv), elements<const T>(o), elements<const T>(dO), elements<const T>(dqkv))};
    if constexpr (std::is_same_v<T, float>) {
      attentionBackwardF32(stream, a);
    } else {
      bool streamed = false;
      const bool taken = runHopper(
          qkv, true, [&] { return attentionBackwardSm90(stream, a); }, [&] { return streamed = attentionBackwardStreamedSm90(stream, a); });
      if (!taken && (wish() == Wish::mmaStreamed || !attentionBackwardResident(stream, a))) {
        attentionBackwardStreamed(stream, a);
        streamed = true;
      }
      const int64_t rows = streamed ? streamedRowsOfBlock(headDim) : tokens, parts = batch * ((tokens + rows - 1) / rows);
      if (!dBias) return;
      const PartialSums sums{
          .partials = columnSums, .groups = 1, .parts = parts, .out = dBias->f32(), .outStride = 0, .accumulate = accumulate};
      addPartialSums(stream, qkv.size(2), &sums, 1);
    }
  });
}

}  // namespace repa::cuda
