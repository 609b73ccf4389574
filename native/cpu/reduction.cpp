#include "cpu/reduction.h"

#include "core/divide_up.h"
#include "cpu/chunks.h"
#include "cpu/partial_sums.h"
#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

// columnSum. The matrix is cut into tiles of at most kTileColumns columns, whose sums stay in the first-level cache, by
// blocks of rows, each read once, kRowsAtOnce rows side by side: long runs for the prefetcher, and a sum's memory is
// visited once for all of them. Scratch holds the blocks' partial sums, [blocks, columns].

constexpr int64_t kTileColumns = 2048;
constexpr int64_t kLeastRows = 32;
constexpr int kRowsAtOnce = 8;

struct ColumnTiling {
  int64_t tiles, blocks;

  explicit ColumnTiling(const ColumnSumArgs& args)
      : tiles(divideUp(args.columns, kTileColumns)),
        blocks(rowParts(args.rows, args.columns < kTileColumns ? args.columns : kTileColumns, kLeastRows)) {}
};

/// sums[c] += the columns of `kRows` rows, added in pairs.
template <int kRows>
void addRows(const float* x, int64_t rowStride, int64_t columns, float* sums) {
  forEachVector(columns, [&](int64_t i, auto lanes, int) {
    Vec rows[kRows];
    for (int r = 0; r < kRows; ++r) rows[r] = load(x + r * rowStride + i, lanes);
    for (int half = kRows / 2; half > 0; half /= 2)
      for (int r = 0; r < half; ++r) rows[r] += rows[r + half];
    store(sums + i, load(sums + i, lanes) + rows[0], lanes);
  });
}

void columnSum(ThreadPool& pool, const ColumnSumArgs& args) {
  const ColumnTiling tiling(args);
  pool.parallelFor(tiling.tiles * tiling.blocks, [&](int64_t chunk, int) {
    const int64_t block = chunk / tiling.tiles;
    const Range columns = evenPart(args.columns, tiling.tiles, chunk % tiling.tiles);
    const Range rows = evenPart(args.rows, tiling.blocks, block);
    const int64_t width = columns.end - columns.begin;
    float* sums = args.scratch + block * args.columns + columns.begin;
    std::memset(sums, 0, sizeof(float) * static_cast<size_t>(width));
    const float* x = args.x + columns.begin;
    int64_t row = rows.begin;
    for (; row + kRowsAtOnce <= rows.end; row += kRowsAtOnce)
      addRows<kRowsAtOnce>(x + row * args.rowStride, args.rowStride, width, sums);
    for (; row < rows.end; ++row) addRows<1>(x + row * args.rowStride, args.rowStride, width, sums);
  });
  addPartialSums(pool, 1, tiling.blocks, args.columns, args.scratch, 0, args.columns, args.out, 0, args.accumulate);
}

int64_t columnSumScratchFloats(const ColumnSumArgs& args, int) { return ColumnTiling(args).blocks * args.columns; }

// Sums over all elements: one double per chunk into scratch, added up in the order of the chunks.

constexpr int64_t kFloatsPerDouble = 2;

/// Sum of `count` floats in double, in one fixed order at every level.
double sumInDouble(const float* x, int64_t count) {
  constexpr int kSums = 16;
  double sums[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums)
    for (int j = 0; j < kSums; ++j) sums[j] += static_cast<double>(x[i + j]);
  for (int j = 0; i + j < count; ++j) sums[j] += static_cast<double>(x[i + j]);
  for (int half = kSums / 2; half > 0; half /= 2)
    for (int j = 0; j < half; ++j) sums[j] += sums[j + half];
  return sums[0];
}

void sum(ThreadPool& pool, const SumArgs& args) {
  double* partials = reinterpret_cast<double*>(args.scratch);
  const int64_t chunks = floatChunks(args.count);
  pool.parallelFor(chunks, [&](int64_t chunk, int) {
    const Range range = floatChunk(args.count, chunk);
    partials[chunk] = sumInDouble(args.x + range.begin, range.end - range.begin);
  });
  double total = 0.0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) total += partials[chunk];
  *args.out = static_cast<float>(args.factor * total);
}

int64_t sumScratchFloats(const SumArgs& args, int) { return floatChunks(args.count) * kFloatsPerDouble; }

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const ReductionKernels& reductionKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr ReductionKernels table = {level::columnSum, level::columnSumScratchFloats, level::sum, level::sumScratchFloats};
  return table;
}

}  // namespace repa::cpu
