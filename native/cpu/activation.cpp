#include "cpu/activation.h"

#include "cpu/chunks.h"
#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// The error function, within 1e-7. Below 1, x times a polynomial in x^2; above, 1 - e^-q(|x|) with q a polynomial near
/// -ln erfc, where what the exponential's argument loses is small beside 1. Both are minimax fits of degree 6 (in x^2
/// and in |x|; 1.3e-9 and 1.1e-9 before rounding); at 4 the result is 1.
Vec erf(Vec x) {
  const Vec square = x * x;
  Vec small = splat(7.853857823647559e-05f);
  small = small * square - 8.010192541405559e-04f;
  small = small * square + 5.188327748328447e-03f;
  small = small * square - 2.6853810995817184e-02f;
  small = small * square + 1.128358542919159e-01f;
  small = small * square - 3.761262595653534e-01f;
  small = small * square + 1.1283791065216064f;

  const Vec magnitude = minimum(maximum(x, -x), splat(4.0f));
  Vec q = splat(-1.8638011533766985e-04f);
  q = q * magnitude + 2.947667147964239e-03f;
  q = q * magnitude - 2.1838098764419556e-02f;
  q = q * magnitude + 1.0310682654380798e-01f;
  q = q * magnitude + 6.381447315216064e-01f;
  q = q * magnitude + 1.127089262008667f;
  q = q * magnitude + 3.4151223371736705e-04f;
  const Vec large = 1.0f - exp(-q);

  const Vec result = magnitude < 1.0f ? x * small : (x < 0.0f ? -large : large);
  return x == x ? result : x;
}

/// The normal distribution's cumulative function, 0.5 (1 + erf(x / sqrt(2))).
Vec normalCdf(Vec x) { return 0.5f + 0.5f * erf(x * 0.70710678118654752f); }

Vec geluErf(Vec x) { return x * normalCdf(x); }

/// The cumulative function plus x times its density.
Vec geluErfDerivative(Vec x) { return normalCdf(x) + x * (0.39894228040143268f * exp(-0.5f * x * x)); }

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
      level::forward<level::silu>,     level::backward<level::siluDerivative>,
      level::forward<level::geluTanh>, level::backward<level::geluTanhDerivative>,
      level::forward<level::geluErf>,  level::backward<level::geluErfDerivative>};
  return table;
}

}  // namespace repa::cpu
