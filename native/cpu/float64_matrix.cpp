#include "cpu/float64_matrix.h"

#include "core/divide_up.h"
#include "cpu/chunks.h"
#include "cpu/pair_block.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

static_assert(kFloat64ProductScratch == kPairColumns * kPairDepth);

void product(ThreadPool& pool, const Float64ProductArgs& args) {
  const int64_t rowBlocks = divideUp(args.rows, kPairRows), columnBlocks = divideUp(args.columns, kPairColumns);
  pool.parallelFor(rowBlocks * columnBlocks, [&](int64_t chunk, int thread) {
    const int64_t row = chunk / columnBlocks * kPairRows, column = chunk % columnBlocks * kPairColumns;
    const int64_t rows = args.rows - row < kPairRows ? args.rows - row : kPairRows;
    const int64_t columns = args.columns - column < kPairColumns ? args.columns - column : kPairColumns;
    if (args.lowerOnly && column > row + rows - 1) return;
    pairBlock<InnerProduct>(args.a + row * args.width, args.width, rows, args.b + column * args.width, args.width, columns, args.width,
                            args.scratch + thread * kFloat64ProductScratch, args.out + row * args.columns + column, args.columns, args.accumulate);
  });
}

/// Columns of a chunk: a cache line of the input.
constexpr int64_t kColumns = 16;

void centre(ThreadPool& pool, const CentreArgs& args) {
  pool.parallelFor(divideUp(args.width, kColumns), [&](int64_t chunk, int) {
    const int64_t first = chunk * kColumns, end = first + kColumns < args.width ? first + kColumns : args.width;
    for (int64_t n = 0; n < args.count; ++n)
      for (int64_t d = first; d < end; ++d) args.out[d * args.count + n] = static_cast<double>(args.x[n * args.width + d]) - args.shift[d];
    for (int64_t d = first; d < end; ++d) {
      double sum = 0;
      for (int64_t n = 0; n < args.count; ++n) sum += args.out[d * args.count + n];
      args.sum[d] += sum;
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const Float64MatrixKernels& float64MatrixKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr Float64MatrixKernels table = {REPA_LEVEL::product, REPA_LEVEL::centre};
  return table;
}

}  // namespace repa::cpu
