// Block after block of pairs, of which only what is asked for is kept: memory does not grow with the number of pairs.
#include "cpu/neighbours.h"

#include "core/divide_up.h"
#include "cpu/chunks.h"
#include "cpu/pair_block.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// visit(row, column, value of the pair) for rows of one chunk, columns ascending.
template <class Pair, class T, class Visit>
void forPairs(const T* a, int64_t chunk, int64_t count, const T* b, int64_t others, int64_t width, T* scratch, Visit visit) {
  T* packed = scratch;
  T* values = scratch + kPairColumns * kPairDepth;
  const int64_t row = chunk * kPairRows, rows = count - row < kPairRows ? count - row : kPairRows;
  for (int64_t column = 0; column < others; column += kPairColumns) {
    const int64_t columns = others - column < kPairColumns ? others - column : kPairColumns;
    pairBlock<Pair>(a + row * width, width, rows, b + column * width, width, columns, width, packed, values, kPairColumns, false);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t c = 0; c < columns; ++c) visit(row + r, column + c, values[r * kPairColumns + c]);
  }
}

void radii(ThreadPool& pool, const NeighbourRadiiArgs& args) {
  const int64_t kept = args.k + 1;
  pool.parallelFor(divideUp(args.count, kPairRows), [&](int64_t chunk, int thread) {
    float* scratch = args.scratch + thread * (kPairScratch + kPairRows * kept);
    float* nearest = scratch + kPairScratch;  // of each row, ascending
    forPairs<SquaredDistance>(args.points, chunk, args.count, args.x, args.others, args.width, scratch, [&](int64_t row, int64_t column, float distance) {
      float* list = nearest + row % kPairRows * kept;
      int64_t at = column < kept ? column : kept;
      if (at == kept && !(distance < list[kept - 1])) return;
      if (at == kept) --at;
      for (; at > 0 && list[at - 1] > distance; --at) list[at] = list[at - 1];
      list[at] = distance;
    });
    const int64_t row = chunk * kPairRows, rows = args.count - row < kPairRows ? args.count - row : kPairRows;
    for (int64_t r = 0; r < rows; ++r) args.out[row + r] = nearest[r * kept + args.k];
  });
}

void insideBalls(ThreadPool& pool, const InsideBallsArgs& args) {
  pool.parallelFor(divideUp(args.count, kPairRows), [&](int64_t chunk, int thread) {
    const int64_t row = chunk * kPairRows, rows = args.count - row < kPairRows ? args.count - row : kPairRows;
    for (int64_t r = 0; r < rows; ++r) args.out[row + r] = 0;
    forPairs<SquaredDistance>(args.points, chunk, args.count, args.centres, args.balls, args.width, args.scratch + thread * kPairScratch,
                              [&](int64_t point, int64_t ball, float distance) { args.out[point] |= distance <= args.radii[ball]; });
  });
}

void mostSimilar(ThreadPool& pool, const MostSimilarArgs& args) {
  const int64_t k = args.k;
  pool.parallelFor(divideUp(args.count, kPairRows), [&](int64_t chunk, int thread) {
    double* scratch = args.scratch + thread * (kPairScratch + kPairRows * k);
    double* similarities = scratch + kPairScratch;  // of each row, descending
    int64_t found = 0;                              // of the row at hand
    int64_t lastRow = -1;
    forPairs<InnerProduct>(args.x, chunk, args.count, args.x, args.count, args.width, scratch, [&](int64_t row, int64_t column, double similarity) {
      if (column == row && !args.includeSelf) return;
      if (row != lastRow) {
        lastRow = row;
        const int64_t seen = column - (!args.includeSelf && column > row ? 1 : 0);
        found = seen < k ? seen : k;
      }
      double* list = similarities + row % kPairRows * k;
      int32_t* indices = args.out + row * k;
      int64_t at = found;
      if (at == k) {
        if (!(similarity > list[k - 1])) return;
        --at;
      } else {
        ++found;
      }
      for (; at > 0 && list[at - 1] < similarity; --at) {
        list[at] = list[at - 1];
        indices[at] = indices[at - 1];
      }
      list[at] = similarity;
      indices[at] = static_cast<int32_t>(column);
    });
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const NeighbourKernels& neighbourKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr NeighbourKernels table = {REPA_LEVEL::radii, REPA_LEVEL::insideBalls, REPA_LEVEL::mostSimilar};
  return table;
}

}  // namespace repa::cpu
