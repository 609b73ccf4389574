#include "cpu/elementwise.h"

#include "cpu/chunks.h"
#include "cpu/vector_loop.h"
#include "cpu/vector_math.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// body(i, lanes) for every vector of `count` floats, chunks in parallel.
template <class Body>
void forEach(ThreadPool& pool, int64_t count, Body body) {
  pool.parallelFor(floatChunks(count), [&](int64_t chunk, int) {
    const Range range = floatChunk(count, chunk);
    forEachVector(range.end - range.begin, [&](int64_t i, auto lanes, int) { body(range.begin + i, lanes); });
  });
}

void add(ThreadPool& pool, const AddArgs& args) {
  forEach(pool, args.count, [&args](int64_t i, auto lanes) {
    store(args.out + i, load(args.a + i, lanes) + load(args.b + i, lanes), lanes);
  });
}

void scale(ThreadPool& pool, const ScaleArgs& args) {
  forEach(pool, args.count, [&args](int64_t i, auto lanes) {
    store(args.out + i, args.factor * load(args.x + i, lanes), lanes);
  });
}

void clamp(ThreadPool& pool, const ClampArgs& args) {
  forEach(pool, args.count, [&args](int64_t i, auto lanes) {
    const Vec x = load(args.x + i, lanes);
    const Vec above = x < args.low ? splat(args.low) : x;
    store(args.out + i, above > args.high ? splat(args.high) : above, lanes);
  });
}

/// tanh u = 1 - 2 / (1 + e^2u): absolute error within the rounding of 1, which is what a clamped value has anyway.
void softClamp(ThreadPool& pool, const SoftClampArgs& args) {
  const Vec limit = splat(args.limit);
  const Vec twice = splat(2.0f / args.limit);
  forEach(pool, args.count, [=, &args](int64_t i, auto lanes) {
    store(args.out + i, limit * (1.0f - 2.0f / (1.0f + exp(twice * load(args.x + i, lanes)))), lanes);
  });
}

void accumulate(ThreadPool& pool, const AccumulateArgs& args) {
  forEach(pool, args.count, [&args](int64_t i, auto lanes) {
    store(args.sum + i, load(args.sum + i, lanes) + load(args.x + i, lanes), lanes);
  });
}

void fill(ThreadPool& pool, const FillArgs& args) {
  forEach(pool, args.count, [&args](int64_t i, auto lanes) { store(args.out + i, splat(args.value), lanes); });
}

void copy(ThreadPool& pool, const CopyArgs& args) {
  pool.parallelFor(floatChunks(args.count), [&](int64_t chunk, int) {
    const Range range = floatChunk(args.count, chunk);
    std::memcpy(args.out + range.begin, args.x + range.begin,
                sizeof(float) * static_cast<size_t>(range.end - range.begin));
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const ElementwiseKernels& elementwiseKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr ElementwiseKernels table = {level::add, level::scale, level::clamp, level::softClamp, level::accumulate, level::fill, level::copy};
  return table;
}

}  // namespace repa::cpu
