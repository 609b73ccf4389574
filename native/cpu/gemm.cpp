// C = epilogue(op(A) op(B)): a packed GEMM in the manner of Goto and van de Geijn (ACM TOMS 34(3), 2008).
//
//   pack     B into panels of kTileColumns columns, all threads together, once per product (not at all when the caller
//            did it, when A has so few rows that reading B is all there is, or when B stays in L2 as it lies)
//   compute  C in chunks of some row panels x at most 384 columns, one chunk one thread:
//
//                        column block (one steps block of its packed B stays in L2, from chunk to chunk)
//                       ┌────┬────┬────┐
//        row panel      │tile│tile│tile│      for every steps block of k (at most kMaxSteps):
//        (<= kTileRows) ├────┼────┼────┤        for every row panel of A, in place or staged:
//                       │tile│tile│tile│          for every column panel: micro-kernel, tile += A panel · B panel,
//                       ├────┼────┼────┤            and meanwhile prefetch the next row panel
//                       │    │    │    │          on the last steps block: epilogue from the tile into C
//                       └────┴────┴────┘
//            Few rows of A (gemm_few_rows.h) and short k (gemm_short_k.h) have ways of their own.
//   reduce   only where k is long and C small: k is cut into slices, each adds up its own tiles, and the slices are
//            then summed in order
//
// Every element of C is summed in an order that depends on the shape alone, so the number of threads changes no bit.
#include "cpu/gemm.h"

#include "core/divide_up.h"
#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_few_rows.h"
#include "cpu/gemm_microkernel.h"
#include "cpu/gemm_pack.h"
#include "cpu/gemm_short_k.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int64_t kChunkRowPanels = 70 / kTileRows;
constexpr int64_t kChunkColumnPanels = 384 / kTileColumns;
/// Transposed A is staged anew for every column block. Wide blocks save that; their B then comes from the L3 cache, as it
/// does anyway once k has several steps blocks, and the kept tiles still fit the L2.
constexpr int64_t kStagedChunkColumnPanels = 2304 / kTileColumns;
constexpr int64_t kStagedChunkTiles = kChunkRowPanels * (1536 / kTileColumns);

/// Packed B takes at most this much scratch; a larger B is multiplied segment by segment.
constexpr int64_t kMaxPackedFloats = int64_t{8} << 20;
constexpr int64_t kMaxSegmentSteps = 8192;

/// How one product is cut. Depends on the shape alone.
struct Grid {
  bool directB;  // few rows: the micro-kernel reads B where the caller has it
  int64_t rowPanels;
  int64_t columnPanels;
  int64_t columnBlocks;
  int64_t rowPanelsPerChunk;     // at most
  int64_t columnPanelsPerChunk;  // at most
  int64_t singles;               // so many row panels at the very end are chunks of their own
  int64_t slices;                // of k

  int64_t fullRowChunks() const { return divideUp(rowPanels, rowPanelsPerChunk); }
  int64_t lastRowChunks() const { return divideUp(rowPanels - singles, rowPanelsPerChunk); }
  /// Chunks, not counting that each is there once per slice.
  int64_t blocks() const { return (columnBlocks - 1) * fullRowChunks() + lastRowChunks() + singles; }
  int64_t chunks() const { return blocks() * slices; }
  int64_t tilesPerChunk() const { return rowPanelsPerChunk * columnPanelsPerChunk; }
};

/// The part of C that a chunk computes.
struct Block {
  Range rowPanels;
  Range columnPanels;
};

Block blockAt(const Grid& grid, int64_t index) {
  const int64_t beforeLast = (grid.columnBlocks - 1) * grid.fullRowChunks();
  if (index < beforeLast)
    return {part(grid.rowPanels, grid.fullRowChunks(), index % grid.fullRowChunks()),
            part(grid.columnPanels, grid.columnBlocks, index / grid.fullRowChunks())};
  const Range columns = part(grid.columnPanels, grid.columnBlocks, grid.columnBlocks - 1);
  const int64_t inLast = index - beforeLast;
  if (inLast < grid.lastRowChunks())
    return {part(grid.rowPanels - grid.singles, grid.lastRowChunks(), inLast), columns};
  const int64_t single = grid.rowPanels - grid.singles + inLast - grid.lastRowChunks();
  return {{single, single + 1}, columns};
}

/// What rows x columns of C cost, in FLOP-like units of some 10 picoseconds: the products, the traffic of C, and of B
/// where that comes straight from memory.
double chunkCost(int64_t rows, int64_t columns, int64_t k, bool directB) {
  return static_cast<double>(rows * columns) * static_cast<double>(2 * k + 40) +
         (directB ? 40.0 * static_cast<double>(columns * k) : 0.0);
}

Grid gridFor(const GemmArgs& args) {
  constexpr double kSmallChunk = 4e6;
  constexpr int64_t kManyChunks = 32;
  constexpr int64_t kManyStagedChunks = 10;
  Grid grid{};
  grid.directB = readsBInPlace(args);
  grid.rowPanels = rowPanelsOf(args.m);
  grid.columnPanels = panelsOf(args.n);
  int64_t& rowsPer = grid.rowPanelsPerChunk;
  int64_t& columnsPer = grid.columnPanelsPerChunk;
  rowsPer = least(grid.rowPanels, kChunkRowPanels);
  columnsPer = least(grid.columnPanels, kChunkColumnPanels);
  const bool stagesColumns = args.transA && !readsInPlace(args.transA, args.lda, args.n, args.k);
  if (stagesColumns && stepsBlocks(args.k) > 1) {
    columnsPer = divideUp(grid.columnPanels, divideUp(grid.columnPanels, kStagedChunkColumnPanels));
    rowsPer = least(rowsPer, most(2, kStagedChunkTiles / columnsPer));
  }
  const int64_t enoughChunks = stagesColumns ? kManyStagedChunks : kManyChunks / 2;
  const auto cost = [&](int64_t rowPanels) {
    return chunkCost(least(args.m, rowPanels * kTileRows), least(args.n, columnsPer * kTileColumns), args.k,
                     grid.directB);
  };
  const auto chunks = [&] { return divideUp(grid.rowPanels, rowsPer) * divideUp(grid.columnPanels, columnsPer); };

  if (stepsBlocks(args.k) == 1) {
    // Short k: whole rows of C, then more rows.
    while (cost(rowsPer) < kSmallChunk && columnsPer < grid.columnPanels)
      columnsPer = least(2 * columnsPer, grid.columnPanels);
    while (cost(rowsPer) < kSmallChunk && rowsPer < grid.rowPanels && rowsPer < 8 * kChunkRowPanels)
      rowsPer = least(2 * rowsPer, grid.rowPanels);
  }
  grid.slices = 1;
  if (chunks() < kManyChunks / 2 && grid.rowPanels <= kChunkRowPanels)
    grid.slices = most(1, least(stepsBlocks(args.k),
                                least(kManyChunks / chunks(), static_cast<int64_t>(cost(rowsPer) / kSmallChunk))));
  while (grid.slices == 1 && chunks() < enoughChunks && cost(rowsPer) > kSmallChunk &&
         (columnsPer > 1 || rowsPer > 1)) {
    if (rowsPer > 2 || columnsPer == 1)
      rowsPer = divideUp(rowsPer, 2);
    else
      columnsPer = divideUp(columnsPer, 2);
  }
  grid.columnBlocks = divideUp(grid.columnPanels, columnsPer);
  // Blocks of equal size: what divides unevenly is spread over all of them.
  columnsPer = divideUp(grid.columnPanels, grid.columnBlocks);
  rowsPer = divideUp(grid.rowPanels, divideUp(grid.rowPanels, rowsPer));
  // Small chunks at the end let the threads finish together, also beside a core that is busy elsewhere.
  if (grid.slices == 1 && rowsPer > 1 && cost(1) > kSmallChunk / 4)
    grid.singles = least(grid.rowPanels / 3, 4 * rowsPer);
  return grid;
}

bool needsPacking(const GemmArgs& args, const Grid& grid) { return args.packedB == nullptr && !grid.directB; }

/// One thread's scratch: staged A, the tiles of a chunk whose k has several steps blocks, and direct B's last panel.
struct ThreadScratch {
  int64_t staged;
  int64_t tiles;
  int64_t lastPanel;
  int64_t floats() const { return staged + tiles + lastPanel; }
};

ThreadScratch threadScratchFor(const GemmArgs& args, const Grid& grid) {
  const int64_t steps = least(args.k, kMaxSteps);
  const bool keepsTiles = grid.slices == 1 && stepsBlocks(args.k) > 1;
  const bool inPlace = readsInPlace(args.transA, args.lda, args.n, args.k);
  const int64_t stagedPanels = inPlace ? 0 : args.transA || grid.directB ? grid.rowPanelsPerChunk : 1;
  return {stagedPanels * stagedPanelFloats(args.transA, steps),
          keepsTiles ? wholeLines(grid.tilesPerChunk() * kTileFloats) : 0,
          grid.directB && args.n % kTileColumns != 0 ? wholeLines(steps * kTileColumns) : 0};
}

int64_t sliceFloats(const Grid& grid) {
  return grid.slices == 1 ? 0 : wholeLines(grid.chunks() * grid.tilesPerChunk() * kTileFloats);
}

void pack(ThreadPool& pool, const float* b, int64_t ldb, bool transB, int64_t n, int64_t k, float* packed) {
  constexpr int64_t kPanelsPerChunk = 96 / kTileColumns;
  const int64_t panels = panelsOf(n);
  const int64_t groups = divideUp(panels, kPanelsPerChunk);
  const int64_t blocks = stepsBlocks(k);
  pool.parallelFor(groups * blocks, [&](int64_t chunk, int) {
    const Range steps = part(k, blocks, chunk / groups);
    const int64_t first = chunk % groups * kPanelsPerChunk;
    for (int64_t panel = first; panel < least(panels, first + kPanelsPerChunk); ++panel)
      packPanel(b, ldb, transB, n, steps, panel, packed + packedOffset(n, steps, panel));
  });
}

/// Everything that the chunks of one product share.
struct Product {
  const GemmArgs& args;
  const Grid& grid;
  const float* packed;  // null with directB
  float* threadScratch;
  ThreadScratch layout;
  float* slices;
  FinishTile finish;

  float* chunkTiles(int64_t chunk) const { return slices + chunk * grid.tilesPerChunk() * kTileFloats; }
};

/// The tile (row panel, column panel), as it lies in C.
TilePlace placeOf(const GemmArgs& args, int64_t row, int64_t column) {
  const Range rows = rowPanel(args.m, row);
  return {rows.begin, rows.size(), column * kTileColumns, least(kTileColumns, args.n - column * kTileColumns)};
}

/// Starts fetching the lines of C that the epilogue will write when the micro-kernel is done.
void prefetchTile(const GemmArgs& args, const TilePlace& place) {
  constexpr int64_t kLine = 16;
  for (int64_t i = 0; i < place.rows; ++i)
    for (int64_t j = 0; j < place.columns; j += kLine)
      __builtin_prefetch(args.c + (place.row + i) * args.ldc + place.column + j, 1);
}

void computeChunk(const Product& product, int64_t chunk, int thread) {
  const GemmArgs& args = product.args;
  const Grid& grid = product.grid;
  const Block block = blockAt(grid, chunk / grid.slices);
  const int64_t rowCount = block.rowPanels.size();
  const int64_t columnCount = block.columnPanels.size();
  const int64_t blocks = stepsBlocks(args.k);
  const Range mySteps = part(blocks, grid.slices, chunk % grid.slices);
  const Range blockRows{rowPanel(args.m, block.rowPanels.begin).begin, rowPanel(args.m, block.rowPanels.end - 1).end};
  const bool inPlace = readsInPlace(args.transA, args.lda, args.n, args.k);
  const int64_t strideA = inPlace ? args.lda : args.transA ? kStagedColumnStride : kStagedRowStride;

  float* staged = product.threadScratch + thread * product.layout.floats();
  float* keptTiles = grid.slices > 1 ? product.chunkTiles(chunk) : staged + product.layout.staged;
  float* lastPanel = staged + product.layout.staged + product.layout.tiles;
  const bool keepsTiles = grid.slices > 1 || blocks > 1;
  const bool fewRows = grid.directB && args.m <= kFewRows;
  const int64_t prefetchSteps = fewRows ? kPrefetchStepsFewRows : kPrefetchStepsShared;
  alignas(64) float oneTile[kTileFloats];

  for (int64_t b = mySteps.begin; b < mySteps.end; ++b) {
    const Range steps = part(args.k, blocks, b);
    const bool first = b == mySteps.begin;
    const bool last = grid.slices == 1 && b + 1 == mySteps.end;

    const int64_t stagedPanel = stagedPanelFloats(args.transA, steps.size());
    const bool stagesColumns = args.transA && !inPlace;
    if (stagesColumns) stageColumns(args.a, args.lda, args.m, block.rowPanels, steps, staged);
    const auto panelOfA = [&](int64_t p) -> const float* {
      const Range rows = rowPanel(args.m, block.rowPanels.begin + p);
      if (args.transA) return inPlace ? args.a + steps.begin * args.lda + rows.begin : staged + p * stagedPanel;
      if (inPlace) return args.a + rows.begin * args.lda + steps.begin;
      float* to = staged + (fewRows ? p * stagedPanel : 0);
      stageRows(args.a, args.lda, rows, steps, to);
      return to;
    };
    const auto multiply = [&](int64_t p, int64_t q, const float* a) {
      const TilePlace place = placeOf(args, block.rowPanels.begin + p, block.columnPanels.begin + q);
      float* tile = keepsTiles ? keptTiles + (p * columnCount + q) * kTileFloats : oneTile;
      if (last) prefetchTile(args, place);
      if (grid.directB && place.columns == kTileColumns) {
        const float* from = args.b + steps.begin * args.ldb + place.column;
        microkernelFor<true>(place.rows, place.columns, args.transA)(steps.size(), a, strideA, from, args.ldb,
                                                                     prefetchSteps, tile, first);
      } else {
        const float* from = grid.directB
                                ? lastPanel
                                : product.packed + packedOffset(args.n, steps, block.columnPanels.begin + q);
        microkernelFor<false>(place.rows, place.columns, args.transA)(steps.size(), a, strideA, from, kTileColumns,
                                                                      kPrefetchSteps, tile, first);
      }
      if (last) product.finish(args, tile, place);
    };

    if (grid.directB && args.n % kTileColumns != 0 && block.columnPanels.end == grid.columnPanels)
      packPanel(args.b, args.ldb, false, args.n, steps, grid.columnPanels - 1, lastPanel);
    if (fewRows) {
      // B is what takes the time, so every column panel of it meets all rows while it is near.
      const float* a[kFewRows / kTileRows + 1];
      for (int64_t p = 0; p < rowCount; ++p) a[p] = panelOfA(p);
      for (int64_t q = 0; q < columnCount; ++q)
        for (int64_t p = 0; p < rowCount; ++p) multiply(p, q, a[p]);
      continue;
    }
    // Staged A is there at once, so columns can go by parts, each of whose B stays in the L2 cache from row panel to row panel.
    const int64_t parts = stagesColumns ? divideUp(columnCount, kChunkColumnPanels) : 1;
    int64_t tilesBegun = 0;
    for (int64_t i = 0; i < parts; ++i) {
      const Range columns = part(columnCount, parts, i);
      for (int64_t p = 0; p < rowCount; ++p) {
        const float* a = panelOfA(p);
        const bool wraps = p + 1 == rowCount;
        const bool hasNext = !args.transA && (!wraps || b + 1 < mySteps.end);
        const Range nextRows = rowPanel(args.m, block.rowPanels.begin + (wraps ? 0 : p + 1));
        const Range nextSteps = wraps ? part(args.k, blocks, b + 1) : steps;
        for (int64_t q = columns.begin; q < columns.end; ++q) {
          if (stagesColumns && b + 1 < mySteps.end)
            prefetchColumns(args.a, args.lda, blockRows, part(args.k, blocks, b + 1), rowCount * columnCount,
                            tilesBegun++);
          if (hasNext) prefetchRows(args.a, args.lda, nextRows, nextSteps, columnCount, q);
          multiply(p, q, a);
        }
      }
    }
  }
}

/// Sums the slices of one block's tiles in order, and finishes them.
void reduceBlock(const Product& product, int64_t index) {
  const GemmArgs& args = product.args;
  const Grid& grid = product.grid;
  const Block block = blockAt(grid, index);
  for (int64_t p = 0; p < block.rowPanels.size(); ++p) {
    for (int64_t q = 0; q < block.columnPanels.size(); ++q) {
      const TilePlace place = placeOf(args, block.rowPanels.begin + p, block.columnPanels.begin + q);
      const int64_t offset = (p * block.columnPanels.size() + q) * kTileFloats;
      const int64_t width = divideUp(place.columns, kLanes) * kLanes;
      float* sum = product.chunkTiles(index * grid.slices) + offset;
      for (int64_t slice = 1; slice < grid.slices; ++slice) {
        const float* term = product.chunkTiles(index * grid.slices + slice) + offset;
        for (int64_t i = 0; i < place.rows; ++i)
          for (int64_t j = i * kTileColumns; j < i * kTileColumns + width; j += kLanes)
            store(sum + j, load(sum + j) + load(term + j));
      }
      product.finish(args, sum, place);
    }
  }
}

/// A product whose packed B fits the scratch.
void gemmSegment(ThreadPool& pool, const GemmArgs& args) {
  const Grid grid = gridFor(args);
  const float* packed = args.packedB;
  float* scratch = args.scratch;
  if (needsPacking(args, grid)) {
    pack(pool, args.b, args.ldb, args.transB, args.n, args.k, scratch);
    packed = scratch;
    scratch += packedFloats(args.n, args.k);
  }
  const ThreadScratch layout = threadScratchFor(args, grid);
  const Product product{args, grid, packed, scratch, layout, scratch + pool.threads() * layout.floats(),
                        finishTileFor(args)};
  pool.parallelFor(grid.chunks(), [&](int64_t chunk, int thread) { computeChunk(product, chunk, thread); });
  if (grid.slices > 1)
    pool.parallelFor(grid.blocks(), [&](int64_t block, int) { reduceBlock(product, block); });
}

int64_t segmentScratchFloats(const GemmArgs& args, int threads) {
  const Grid grid = gridFor(args);
  return (needsPacking(args, grid) ? packedFloats(args.n, args.k) : 0) +
         threads * threadScratchFor(args, grid).floats() + sliceFloats(grid);
}

/// Columns [columns) and steps [steps) of a product.
GemmArgs segmentOf(const GemmArgs& args, Range columns, Range steps) {
  GemmArgs segment = args;
  segment.n = columns.size();
  segment.k = steps.size();
  segment.a += args.transA ? steps.begin * args.lda : steps.begin;
  segment.b += args.transB ? columns.begin * args.ldb + steps.begin : steps.begin * args.ldb + columns.begin;
  segment.c += columns.begin;
  segment.accumulate = args.accumulate || steps.begin > 0;
  GemmEpilogue& e = segment.epilogue;
  if (e.bias != nullptr) e.bias += columns.begin;
  if (e.aux != nullptr) e.aux += columns.begin;
  if (e.residual != nullptr) e.residual += columns.begin;
  if (e.gate != nullptr) e.gate += columns.begin;
  if (e.addend != nullptr) e.addend += columns.begin;
  return segment;
}

/// Calls visit for the segments of a product in order; k is cut only where C itself can hold the partial sums.
template <class Visit>
void forEachSegment(const GemmArgs& args, Visit visit) {
  if (!needsPacking(args, gridFor(args)) || packedFloats(args.n, args.k) <= kMaxPackedFloats) return visit(args);
  const bool cutsSteps = args.epilogue.kind == GemmEpilogueKind::none;
  const int64_t stepSegments = cutsSteps ? divideUp(args.k, kMaxSegmentSteps) : 1;
  const int64_t panels = panelsOf(args.n);
  const int64_t segmentFloats = packedFloats(args.n, divideUp(args.k, stepSegments));
  const int64_t columnSegments = least(panels, divideUp(segmentFloats, kMaxPackedFloats));
  for (int64_t c = 0; c < columnSegments; ++c) {
    const Range within = part(panels, columnSegments, c);
    const Range columns{within.begin * kTileColumns, least(args.n, within.end * kTileColumns)};
    for (int64_t s = 0; s < stepSegments; ++s) visit(segmentOf(args, columns, part(args.k, stepSegments, s)));
  }
}

void gemm(ThreadPool& pool, const GemmArgs& args) {
  if (args.m == 0 || args.n == 0) return;
  if (isFewRowsDot(args)) return gemmFewRowsDot(pool, args);
  if (isShortK(args)) return gemmShortK(pool, args);
  forEachSegment(args, [&](const GemmArgs& segment) { gemmSegment(pool, segment); });
}

int64_t scratchFloats(const GemmArgs& args, int threads) {
  if (args.m == 0 || args.n == 0 || isFewRowsDot(args) || isShortK(args)) return 0;
  int64_t floats = 0;
  forEachSegment(args, [&](const GemmArgs& segment) { floats = most(floats, segmentScratchFloats(segment, threads)); });
  return floats;
}

void packB(ThreadPool& pool, const GemmPackBArgs& args) {
  pack(pool, args.b, args.ldb, args.transB, args.n, args.k, args.packed);
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const GemmKernels& gemmKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr GemmKernels table = {REPA_LEVEL::gemm, REPA_LEVEL::scratchFloats, REPA_LEVEL::packB,
                                        REPA_LEVEL::packedFloats};
  return table;
}

}  // namespace repa::cpu
