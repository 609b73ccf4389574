#include "cpu/rope.h"

#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// Floats of qkv in a chunk of work: some tens of microseconds.
constexpr int64_t kChunkFloats = 1 << 16;

/// Lane 2i gets lane 2i + 1 and the other way round.
template <int... lane>
Vec swapNeighbours(Vec v, std::integer_sequence<int, lane...>) {
  return shuffle<(lane ^ 1)...>(v, v);
}

/// -1 in even lanes and 1 in odd ones.
template <int... lane>
Vec signs(std::integer_sequence<int, lane...>) {
  return Vec{(lane % 2 == 0 ? -1.0f : 1.0f)...};
}

using Lanes = std::make_integer_sequence<int, kLanes>;

void rotate(ThreadPool& pool, const RotateArgs& args) {
  const int64_t d = args.headDim, rows = args.batch * args.tokens, rowFloats = 3 * args.heads * d;
  const int64_t rowsOfChunk = kChunkFloats / rowFloats > 0 ? kChunkFloats / rowFloats : 1;
  const Vec sign = signs(Lanes{});
  pool.parallelFor((rows + rowsOfChunk - 1) / rowsOfChunk, [&](int64_t chunk, int) {
    const int64_t end = (chunk + 1) * rowsOfChunk < rows ? (chunk + 1) * rowsOfChunk : rows;
    for (int64_t row = chunk * rowsOfChunk; row < end; ++row) {
      const int64_t token = row % args.tokens;
      // Queries and keys of a row lie behind each other.
      float* const heads = args.qkv + row * rowFloats;
      forEachVector(d, [&](int64_t c, auto lanes, int) {
        const Vec cos = load(args.cos + token * d + c, lanes), sin = load(args.sin + token * d + c, lanes);
        // Column c takes its neighbour by its own sine; of the transpose, by the neighbour's.
        const Vec ofNeighbour = args.transposed ? swapNeighbours(sign * sin, Lanes{}) : sign * sin;
        for (int64_t head = 0; head < 2 * args.heads; ++head) {
          float* const x = heads + head * d + c;
          const Vec own = load(x, lanes);
          store(x, own * cos + swapNeighbours(own, Lanes{}) * ofNeighbour, lanes);
        }
      });
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const RopeKernels& ropeKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr RopeKernels table = {REPA_LEVEL::rotate};
  return table;
}

}  // namespace repa::cpu
