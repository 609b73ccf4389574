#include "cpu/swiglu.h"

#include "cpu/simd.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// Elements of `out` in a chunk of work: some tens of microseconds.
constexpr int64_t kChunkElements = 1 << 15;

/// Runs body(row) over all rows, as many rows to a chunk as make up kChunkElements.
template <class Body>
void forRows(ThreadPool& pool, int64_t rows, int64_t hidden, const Body& body) {
  if (rows == 0 || hidden == 0) return;
  const int64_t rowsPerChunk = (kChunkElements + hidden - 1) / hidden;
  pool.parallelFor((rows + rowsPerChunk - 1) / rowsPerChunk, [&](int64_t chunk, int) {
    const int64_t end = (chunk + 1) * rowsPerChunk < rows ? (chunk + 1) * rowsPerChunk : rows;
    for (int64_t row = chunk * rowsPerChunk; row < end; ++row) body(row);
  });
}

void forward(ThreadPool& pool, const SwigluForwardArgs& args) {
  const int64_t hidden = args.hidden;
  forRows(pool, args.rows, hidden, [&](int64_t row) {
    const float* x1 = args.in + row * 2 * hidden;
    const float* x2 = x1 + hidden;
    float* out = args.out + row * hidden;
    int64_t c = 0;
    for (; c + kLanes <= hidden; c += kLanes) store(out + c, silu(load(x1 + c)) * load(x2 + c));
    const int rest = static_cast<int>(hidden - c);
    if (rest > 0) storePartial(out + c, silu(loadPartial(x1 + c, rest)) * loadPartial(x2 + c, rest), rest);
  });
}

// dx1 = dOut * x2 * silu'(x1), dx2 = dOut * silu(x1), with one sigmoid s for both:
// silu = x1 s, silu' = s (1 + x1 (1 - s)), where 1 - s is not subtracted: of large x1 hardly a digit would be left.
struct InputGradient {
  Vec dx1;
  Vec dx2;

  InputGradient(Vec x1, Vec x2, Vec dOut) {
    const SigmoidPair p = sigmoidPair(x1);
    dx1 = dOut * x2 * (p.s * (1.0f + x1 * p.oneMinus));
    dx2 = dOut * (x1 * p.s);
  }
};

void backward(ThreadPool& pool, const SwigluBackwardArgs& args) {
  const int64_t hidden = args.hidden;
  forRows(pool, args.rows, hidden, [&](int64_t row) {
    const float* x1 = args.in + row * 2 * hidden;
    const float* x2 = x1 + hidden;
    const float* dOut = args.dOut + row * hidden;
    float* dx1 = args.dIn + row * 2 * hidden;
    float* dx2 = dx1 + hidden;
    int64_t c = 0;
    for (; c + kLanes <= hidden; c += kLanes) {
      const InputGradient gradient(load(x1 + c), load(x2 + c), load(dOut + c));
      store(dx1 + c, gradient.dx1);
      store(dx2 + c, gradient.dx2);
    }
    const int rest = static_cast<int>(hidden - c);
    if (rest > 0) {
      const InputGradient gradient(loadPartial(x1 + c, rest), loadPartial(x2 + c, rest), loadPartial(dOut + c, rest));
      storePartial(dx1 + c, gradient.dx1, rest);
      storePartial(dx2 + c, gradient.dx2, rest);
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const SwigluKernels& swigluKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr SwigluKernels table = {REPA_LEVEL::forward, REPA_LEVEL::backward};
  return table;
}

}  // namespace repa::cpu
