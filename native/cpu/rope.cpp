#include "cpu/rope.h"

#include "cpu/simd.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// Floats of qkv in a chunk of work: some tens of microseconds.
constexpr int64_t kChunkFloats = 1 << 16;

/// Lane 2i gets lane 2i + 1 and the other way round.
template <int... lane>
Vec swapNeighbours(Vec v, std::integer_sequence<int, lane...>) {
  return __builtin_shufflevector(v, v, (lane ^ 1)...);
}

/// -1 in even lanes and 1 in odd ones.
template <int... lane>
Vec signs(std::integer_sequence<int, lane...>) {
  return Vec{(lane % 2 == 0 ? -1.0f : 1.0f)...};
}

using Lanes = std::make_integer_sequence<int, kLanes>;

Vec loadColumns(const float* from, int64_t column, int64_t size) {
  return column + kLanes <= size ? load(from + column) : loadPartial(from + column, static_cast<int>(size - column));
}

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
      for (int64_t c = 0; c < d; c += kLanes) {
        const Vec cos = loadColumns(args.cos + token * d, c, d);
        const Vec sin = loadColumns(args.sin + token * d, c, d);
        // Column c takes its neighbour by its own sine; of the transpose, by the neighbour's.
        const Vec ofNeighbour = args.transposed ? swapNeighbours(sign * sin, Lanes{}) : sign * sin;
        for (int64_t head = 0; head < 2 * args.heads; ++head) {
          float* const x = heads + head * d;
          const Vec own = loadColumns(x, c, d);
          const Vec turned = own * cos + swapNeighbours(own, Lanes{}) * ofNeighbour;
          if (c + kLanes <= d) store(x + c, turned);
          else storePartial(x + c, turned, static_cast<int>(d - c));
        }
      }
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
