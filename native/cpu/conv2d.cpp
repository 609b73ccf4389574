// out = epilogue(im2col(x) weightᵀ), where im2col(x) is never made:
//
//   pack     the weight, once a call, into the GEMM's panels of kTileColumns output channels
//   stage    a tile of output pixels needs a patch of input pixels; it is copied into the thread's scratch, normalised, upsampled
//            and framed with zeros on the way, each pixel once for all kernel positions and output channels
//   compute  row panels are output pixels of one row; for every run of the kernel (a kernel row, or a part of it)
//
//                     patch                          packed weight of the run
//              ┌─────────────────┐
//              │  ┌──run──┐      │ ◀ A's row of pixel x     ┌──────┬──────┐
//              │     ┌──run──┐   │ ◀ of pixel x + 1         │panel │panel │    tile (row panel, column panel) += A · B
//              │        ┌──run──┐│ ◀ of pixel x + 2         └──────┴──────┘
//              └─────────────────┘
//
//            A's rows overlap in memory, a stride of pixels apart: the micro-kernel reads them in place.
//
// Sums run in the order (kernel row, kernel column, channel) whatever the tile, so neither it nor the number of threads changes a bit.
#include "cpu/conv2d.h"

#include "core/divide_up.h"
#include "cpu/gemm_epilogue.h"
#include "cpu/gemm_microkernel.h"
#include "cpu/gemm_pack.h"
#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// Output pixels of a tile: so many that a block of the weight, which comes from the L3 cache, is used often, ...
constexpr int64_t kTilePixels = 224;
constexpr int64_t kTilePanels = kTileRows < 28 ? 28 / kTileRows : 1;
/// ... and so few that the patch, the sums and that block stay in an L2 cache of 1 MiB.
constexpr int64_t kMostPatchFloats = 96 << 10;
constexpr int64_t kBlockColumnPanels = 256 / kTileColumns;
constexpr int64_t kManyChunks = 32;

/// The runs into which the kernel's kernelHeight x kernelWidth x channels summands are cut: k ranges of packed B, in order.
struct Runs {
  int64_t pixelStride;  // floats from pixel to pixel of a patch
  int64_t segments;     // of a kernel row: one, or one per kernel column where pixels are not packed
  int64_t segment;      // summands of each
  int64_t parts;        // into which each is cut

  int64_t perRow() const { return segments * parts; }
  Range within(int64_t run) const { return part(segment, parts, run % parts); }
  /// Kernel row, then offset in the patch's row.
  int64_t row(int64_t run) const { return run / perRow(); }
  int64_t offset(int64_t run) const { return run % perRow() / parts * pixelStride + within(run).begin; }
  Range steps(int64_t run) const {
    const int64_t before = (row(run) * segments + run % perRow() / parts) * segment;
    return {before + within(run).begin, before + within(run).end};
  }
};

Runs runsOf(const Conv2dArgs& args) {
  // As for a GEMM's rows in place: pixels at distances that meet in one set of the L1 cache are moved apart.
  const bool apart = !readsInPlace(false, args.channels * args.strideWidth, 0, 0);
  Runs runs{};
  runs.pixelStride = apart ? args.channels + 16 : args.channels;
  runs.segments = apart ? args.kernelWidth : 1;
  runs.segment = args.kernelWidth * args.channels / runs.segments;
  runs.parts = stepsBlocks(runs.segment);
  return runs;
}

/// How the output is cut. Depends on the sizes alone.
struct Tiling {
  int64_t rowsPerTile, panelsPerTile;  // at most
  int64_t down, across, panelsAcross;  // tiles of an image, row panels of an output row
  int64_t columnPanels, columnParts;
  int64_t patchHeight, patchWidth;  // at most

  int64_t chunks(int64_t batch) const { return batch * down * across * columnParts; }
};

int64_t under(int64_t outputs, int64_t stride, int64_t kernel) { return (outputs - 1) * stride + kernel; }

Tiling tilingOf(const Conv2dArgs& args, const Runs& runs) {
  Tiling tiling{};
  tiling.panelsAcross = rowPanelsOf(args.outWidth);
  tiling.across = divideUp(tiling.panelsAcross, kTilePanels);
  tiling.panelsPerTile = divideUp(tiling.panelsAcross, tiling.across);
  const int64_t width = least(args.outWidth, tiling.panelsPerTile * kTileRows);
  tiling.patchWidth = under(width, args.strideWidth, args.kernelWidth);
  int64_t& rows = tiling.rowsPerTile;
  rows = least(args.outHeight, most(1, kTilePixels / width));
  const auto patchFloats = [&] {
    return under(rows, args.strideHeight, args.kernelHeight) * tiling.patchWidth * runs.pixelStride;
  };
  while (rows > 1 && patchFloats() > kMostPatchFloats) --rows;
  const auto tiles = [&] { return args.batch * tiling.across * divideUp(args.outHeight, rows); };
  while (rows > 4 && tiles() < kManyChunks) rows = divideUp(rows, 2);
  tiling.down = divideUp(args.outHeight, rows);
  rows = divideUp(args.outHeight, tiling.down);
  tiling.patchHeight = under(rows, args.strideHeight, args.kernelHeight);
  tiling.columnPanels = panelsOf(args.outChannels);
  // A small image: its patches are staged again for parts of the output channels, so that every thread has work.
  tiling.columnParts = least(tiling.columnPanels, divideUp(kManyChunks, most(1, tiles())));
  return tiling;
}

struct ThreadScratch {
  int64_t patch, tiles;
  int64_t floats() const { return patch + tiles; }
};

ThreadScratch threadScratchOf(const Tiling& tiling, const Runs& runs) {
  const int64_t columns = least(kBlockColumnPanels, divideUp(tiling.columnPanels, tiling.columnParts));
  return {wholeLines(tiling.patchHeight * tiling.patchWidth * runs.pixelStride),
          wholeLines(tiling.rowsPerTile * tiling.panelsPerTile * columns * kTileFloats)};
}

int64_t summandsOf(const Conv2dArgs& args) { return args.kernelHeight * args.kernelWidth * args.channels; }

void packWeight(ThreadPool& pool, const Conv2dArgs& args, const Runs& runs, float* packed) {
  constexpr int64_t kPanelsAtOnce = 96 / kTileColumns;
  const int64_t k = summandsOf(args), panels = panelsOf(args.outChannels);
  const int64_t groups = divideUp(panels, kPanelsAtOnce);
  const int64_t count = args.kernelHeight * runs.perRow();
  pool.parallelFor(groups * count, [&](int64_t chunk, int) {
    const Range steps = runs.steps(chunk / groups);
    const int64_t first = chunk % groups * kPanelsAtOnce;
    for (int64_t panel = first; panel < least(panels, first + kPanelsAtOnce); ++panel)
      packPanel(args.weight, k, true, args.outChannels, steps, panel, packed + packedOffset(args.outChannels, steps, panel));
  });
}

/// A pixel's channels on their way into the patch.
using StagePixel = void (*)(int64_t channels, const float* from, const float* scale, const float* shift, float* to);

void copyPixel(int64_t channels, const float* from, const float*, const float*, float* to) {
  std::memcpy(to, from, sizeof(float) * static_cast<size_t>(channels));
}

template <ConvActivation activation>
void normalizePixel(int64_t channels, const float* from, const float* scale, const float* shift, float* to) {
  forEachVector(channels, [&](int64_t c, auto lanes, int) {
    const Vec v = load(from + c, lanes) * load(scale + c, lanes) + load(shift + c, lanes);
    store(to + c, activation == ConvActivation::silu ? silu(v) : activation == ConvActivation::relu ? (v < 0.0f ? Vec{} : v) : v, lanes);
  });
}

StagePixel stagePixelFor(const Conv2dArgs& args) {
  if (args.coefficients == nullptr) return copyPixel;
  switch (args.inputActivation) {
    case ConvActivation::silu:
      return normalizePixel<ConvActivation::silu>;
    case ConvActivation::relu:
      return normalizePixel<ConvActivation::relu>;
    default:
      return normalizePixel<ConvActivation::none>;
  }
}

/// The pixels under output rows [rows) and columns [columns) of an image.
void stagePatch(const Conv2dArgs& args, const Runs& runs, StagePixel stage, int64_t image, Range rows, Range columns, int64_t patchWidth,
                float* patch) {
  const int64_t channels = args.channels;
  const float* x = args.x + image * args.height * args.width * channels;
  const float* scale = args.coefficients == nullptr ? nullptr : args.coefficients + 2 * image * channels;
  const float* shift = scale == nullptr ? nullptr : scale + channels;
  const int64_t top = rows.begin * args.strideHeight - args.padTop, left = columns.begin * args.strideWidth - args.padLeft;
  const int64_t height = under(rows.size(), args.strideHeight, args.kernelHeight);
  const int64_t width = under(columns.size(), args.strideWidth, args.kernelWidth);
  const auto zero = [&](float* to, int64_t floats) { std::memset(to, 0, sizeof(float) * static_cast<size_t>(floats)); };
  for (int64_t py = 0; py < height; ++py) {
    float* to = patch + py * patchWidth * runs.pixelStride;
    const int64_t y = top + py;
    if (y < 0 || y >= args.height * args.upsample) {
      zero(to, width * runs.pixelStride);
      continue;
    }
    const float* from = x + y / args.upsample * args.width * channels;
    for (int64_t px = 0; px < width; ++px, to += runs.pixelStride) {
      const int64_t column = left + px;
      if (column < 0 || column >= args.width * args.upsample)
        zero(to, channels);
      else
        stage(channels, from + column / args.upsample * channels, scale, shift, to);
    }
  }
}

/// What the epilogue of the GEMM sees: C is the output, a row of it a pixel.
GemmArgs productOf(const Conv2dArgs& args) {
  GemmArgs product;
  product.m = args.batch * args.outHeight * args.outWidth;
  product.n = args.outChannels;
  product.k = summandsOf(args);
  product.c = args.out;
  product.ldc = args.outChannels;
  GemmEpilogue& e = product.epilogue;
  e.bias = args.bias;
  const bool relu = args.activation == ConvActivation::relu;
  if (args.residual != nullptr) {
    e.kind = relu ? GemmEpilogueKind::biasAddendRelu : GemmEpilogueKind::biasAddend;
    e.addend = args.residual;
    e.addendStride = args.outChannels;
    e.addendRows = most(1, product.m);
  } else {
    e.kind = relu ? GemmEpilogueKind::biasRelu
             : args.activation == ConvActivation::silu ? GemmEpilogueKind::biasSilu
                                                       : GemmEpilogueKind::bias;
  }
  return product;
}

int64_t conv2dScratchFloats(const Conv2dArgs& args, int threads) {
  const Runs runs = runsOf(args);
  return packedFloats(args.outChannels, summandsOf(args)) + threads * threadScratchOf(tilingOf(args, runs), runs).floats();
}

void conv2d(ThreadPool& pool, const Conv2dArgs& args) {
  const Runs runs = runsOf(args);
  const Tiling tiling = tilingOf(args, runs);
  const ThreadScratch layout = threadScratchOf(tiling, runs);
  float* packed = args.scratch;
  float* threadScratch = packed + packedFloats(args.outChannels, summandsOf(args));
  packWeight(pool, args, runs, packed);
  const StagePixel stage = stagePixelFor(args);
  const GemmArgs product = productOf(args);
  const FinishTile finish = finishTileFor(product);
  const int64_t runCount = args.kernelHeight * runs.perRow();
  const int64_t strideA = args.strideWidth * runs.pixelStride;

  pool.parallelFor(tiling.chunks(args.batch), [&](int64_t chunk, int thread) {
    float* patch = threadScratch + thread * layout.floats();
    float* tiles = patch + layout.patch;
    const Range columnPanels = part(tiling.columnPanels, tiling.columnParts, chunk % tiling.columnParts);
    int64_t tile = chunk / tiling.columnParts;
    const Range panels = part(tiling.panelsAcross, tiling.across, tile % tiling.across);
    tile /= tiling.across;
    const Range rows = part(args.outHeight, tiling.down, tile % tiling.down);
    const int64_t image = tile / tiling.down;
    const Range columns{rowPanel(args.outWidth, panels.begin).begin, rowPanel(args.outWidth, panels.end - 1).end};
    stagePatch(args, runs, stage, image, rows, columns, tiling.patchWidth, patch);

    const int64_t blocks = divideUp(columnPanels.size(), kBlockColumnPanels);
    for (int64_t b = 0; b < blocks; ++b) {
      const Range within = part(columnPanels.size(), blocks, b);
      const int64_t firstColumn = columnPanels.begin + within.begin;
      for (int64_t run = 0; run < runCount; ++run) {
        const Range steps = runs.steps(run);
        for (int64_t y = rows.begin; y < rows.end; ++y) {
          const int64_t patchRow = (y - rows.begin) * args.strideHeight + runs.row(run);
          const float* rowOfA = patch + patchRow * tiling.patchWidth * runs.pixelStride + runs.offset(run);
          for (int64_t p = panels.begin; p < panels.end; ++p) {
            const Range pixels = rowPanel(args.outWidth, p);
            const float* a = rowOfA + (pixels.begin - columns.begin) * strideA;
            float* rowTiles = tiles + ((y - rows.begin) * panels.size() + p - panels.begin) * within.size() * kTileFloats;
            for (int64_t q = 0; q < within.size(); ++q) {
              const int64_t column = (firstColumn + q) * kTileColumns;
              const TilePlace place{(image * args.outHeight + y) * args.outWidth + pixels.begin, pixels.size(), column,
                                    least(kTileColumns, args.outChannels - column)};
              float* sums = rowTiles + q * kTileFloats;
              microkernelFor<false>(place.rows, place.columns, false)(
                  steps.size(), a, strideA, packed + packedOffset(args.outChannels, steps, firstColumn + q), kTileColumns, kPrefetchSteps, sums,
                  run == 0);
              if (run + 1 == runCount) finish(product, sums, place);
            }
          }
        }
      }
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const Conv2dKernels& conv2dKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr Conv2dKernels table = {REPA_LEVEL::conv2d, REPA_LEVEL::conv2dScratchFloats};
  return table;
}

}  // namespace repa::cpu
