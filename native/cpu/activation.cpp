#include "cpu/activation.h"

#include "cpu/chunks.h"
#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

template <Vec (*function)(Vec)>
void forward(ThreadPool& pool, const ActivationArgs& args) {
  pool.parallelFor(floatChunks(args.count), [&](int64_t chunk, int) {
    const Range range = floatChunk(args.count, chunk);
    const float* x = args.x + range.begin;
    float* out = args.out + range.begin;
    forEachVector(range.end - range.begin,
                  [&](int64_t i, auto lanes, int) { store(out + i, function(load(x + i, lanes)), lanes); });
  });
}

template <Vec (*derivative)(Vec)>
void backward(ThreadPool& pool, const ActivationBackwardArgs& args) {
  pool.parallelFor(floatChunks(args.count), [&](int64_t chunk, int) {
    const Range range = floatChunk(args.count, chunk);
    const float* x = args.x + range.begin;
    const float* dOut = args.dOut + range.begin;
    float* dX = args.dX + range.begin;
    forEachVector(range.end - range.begin, [&](int64_t i, auto lanes, int) {
      store(dX + i, load(dOut + i, lanes) * derivative(load(x + i, lanes)), lanes);
    });
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const ActivationKernels& activationKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr ActivationKernels table = {
      level::forward<level::silu>,      level::backward<level::siluDerivative>,
      level::forward<level::geluTanh>,  level::backward<level::geluTanhDerivative>,
      level::forward<level::geluErf>,   level::backward<level::geluErfDerivative>,
      level::forward<level::quickGelu>, level::backward<level::quickGeluDerivative>};
  return table;
}

}  // namespace repa::cpu
