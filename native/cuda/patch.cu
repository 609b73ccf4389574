// Between images and rows of patches: a permutation, bound by memory.
//
// The pixels of a row of patches are p lines of every channel on the side of the image, here its runs; on the side of the patches they are
// one piece of memory, in which runs take turns by pieces of p pixels, or by single ones:
//
//   image    (run | x)             C p runs of W floats, one wherever (channel, py) is
//   patches  (tx | run, px)        run = channel p + py;  or  (tx | py | px | channel),  run = py C + channel
//
// Read in the order of one side, the other's elements are far apart: p = 1 of a RAE's 768 channels wants a sector for each. So a block takes
// some columns of some runs through shared memory, and each side sees its own order:
//
//                 columns x0 … x0 + 63
//     run r0      ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓      to and from the image by rows of the tile
//     run r0 + 1  ▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓▓      to and from the patches by pieces of p columns of all rows, or by columns
//     …                                   rows are an odd number of floats apart, so that a column is in as many banks
//
// A block of the grid's x is a row of patches, of its y a tile of it. Patches that are to be multiplied may be rows of more elements than they
// have, zeros behind them.
#include "cuda/patch.h"

#include <algorithm>

#include "cuda/blocks.h"
#include "cuda/divisor.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
/// Floats of a tile, at most, and of one of its rows: two sectors of 16 bits are the least that a piece of it should have.
constexpr int kTile = 4096, kColumns = 64;

struct Geometry {
  int64_t channels, height, width;
  int runs, patchSize;                                  // C p, C p p
  int tiles, stride;                                    // of a row of patches; floats between two rows of a tile
  Divisor patchesDown, patch, row, channel;             // H / p, p, elements of a patch's row, C
  Divisor columnTiles, tileRuns, tileColumns;           // of the tiles side by side; of each
  Divisor together, togetherTile;                       // columns that are one piece of the patches: p, or a tile's, and of all its rows
};

/// Where a tile begins.
struct Tile {
  int firstRun, firstColumn;
};

__device__ __forceinline__ Tile tileOf(const Geometry& g, int tile) {
  const int down = g.columnTiles.divide(tile);
  return {down * g.tileRuns.value(), tile * g.tileColumns.value()};
}

/// The first pixel of row of patches blockIdx.x.
__device__ __forceinline__ int64_t firstPixel(const Geometry& g) {
  int top = static_cast<int>(blockIdx.x);
  const int64_t sample = g.patchesDown.divide(top);
  return (sample * g.channels * g.height + int64_t{top} * g.patch.value()) * g.width;
}

/// Its first element.
__device__ __forceinline__ int64_t firstElement(const Geometry& g) {
  return int64_t{blockIdx.x} * g.patch.quotient(static_cast<int>(g.width)) * g.row.value();
}

/// Calls move(place in the tile, pixel) for every element of a tile, in the image's order.
template <PatchOrder order, class Move>
__device__ __forceinline__ void forPixels(const Geometry& g, const Tile& tile, Move&& move) {
  for (int i = static_cast<int>(threadIdx.x); i < g.tileRuns.value() * g.tileColumns.value(); i += kThreads) {
    int x = i;
    const int y = g.tileColumns.divide(x);
    const int run = tile.firstRun + y, column = tile.firstColumn + x;
    if (run >= g.runs || column >= g.width) continue;
    int rest = run;
    const int quotient = (order == PatchOrder::channelFirst ? g.patch : g.channel).divide(rest);
    const int channel = order == PatchOrder::channelFirst ? quotient : rest, py = order == PatchOrder::channelFirst ? rest : quotient;
    move(y * g.stride + x, (channel * g.height + py) * g.width + column);
  }
}

/// Calls move(place in the tile, element) for every element of a tile, in the patches' order.
template <PatchOrder order, class Move>
__device__ __forceinline__ void forElements(const Geometry& g, const Tile& tile, Move&& move) {
  for (int i = static_cast<int>(threadIdx.x); i < g.tileRuns.value() * g.tileColumns.value(); i += kThreads) {
    int x, y;
    if constexpr (order == PatchOrder::channelFirst) {
      x = i;
      const int piece = g.togetherTile.divide(x);
      y = g.together.divide(x);
      x += piece * g.together.value();
    } else {
      y = i;
      x = g.tileRuns.divide(y);
    }
    const int run = tile.firstRun + y;
    int px = tile.firstColumn + x;
    if (run >= g.runs || px >= g.width) continue;
    const int tx = g.patch.divide(px);
    int inside;
    if constexpr (order == PatchOrder::channelFirst) {
      inside = run * g.patch.value() + px;
    } else {
      int channel = run;
      const int py = g.channel.divide(channel);
      inside = (py * g.patch.value() + px) * g.channel.value() + channel;
    }
    move(y * g.stride + x, tx * g.row.value() + inside);
  }
}

/// Zeros behind the elements of the patches that begin in a tile.
template <class T>
__device__ __forceinline__ void fillBehind(const Geometry& g, const Tile& tile, T* patches) {
  const int before = g.patch.value() - 1, width = static_cast<int>(g.width);
  const int end = g.patch.quotient(min(tile.firstColumn + g.tileColumns.value(), width) + before);
  for (int tx = g.patch.quotient(tile.firstColumn + before); tx < end; ++tx)
    for (int i = g.patchSize + static_cast<int>(threadIdx.x); i < g.row.value(); i += kThreads) patches[tx * g.row.value() + i] = fromFloat<T>(0.0f);
}

template <PatchOrder order, class T>
__global__ void __launch_bounds__(kThreads) imageToPatchesKernel(const Geometry g, const float* image, T* patches) {
  REPA_DYNAMIC_SHARED(shared);
  float* const held = reinterpret_cast<float*>(shared);
  image += firstPixel(g);
  patches += firstElement(g);
  for (int i = static_cast<int>(blockIdx.y); i < g.tiles; i += static_cast<int>(gridDim.y)) {
    const Tile tile = tileOf(g, i);
    forPixels<order>(g, tile, [&](int place, int64_t pixel) { held[place] = image[pixel]; });
    __syncthreads();
    forElements<order>(g, tile, [&](int place, int element) { patches[element] = fromFloat<T>(held[place]); });
    if (tile.firstRun == 0) fillBehind(g, tile, patches);
    __syncthreads();
  }
}

template <PatchOrder order, class T>
__global__ void __launch_bounds__(kThreads) patchesToImageKernel(const Geometry g, const T* patches, float* image) {
  REPA_DYNAMIC_SHARED(shared);
  float* const held = reinterpret_cast<float*>(shared);
  image += firstPixel(g);
  patches += firstElement(g);
  for (int i = static_cast<int>(blockIdx.y); i < g.tiles; i += static_cast<int>(gridDim.y)) {
    const Tile tile = tileOf(g, i);
    forElements<order>(g, tile, [&](int place, int element) { held[place] = toFloat(patches[element]); });
    __syncthreads();
    forPixels<order>(g, tile, [&](int place, int64_t pixel) { image[pixel] = held[place]; });
    __syncthreads();
  }
}

/// `count` in equal parts of at most `most`, at least 1: how many are in one.
int64_t evenPart(int64_t count, int64_t most) {
  const int64_t parts = (count + most - 1) / most;
  return (count + parts - 1) / parts;
}

/// Calls run(geometry, shape) unless there is nothing to move.
template <class Run>
void forRowsOfPatches(const Tensor& image, int64_t patch, const Tensor& patches, Run&& run) {
  if (image.elements() == 0) return;
  const int64_t channels = image.size(1), height = image.size(2), width = image.size(3), runs = channels * patch;
  const int64_t columns = patch > kColumns ? kColumns : patch * evenPart(width / patch, kColumns / patch);
  const int64_t stride = columns | 1;
  const int64_t tileRuns = evenPart(runs, kTile / stride), together = std::min(patch, columns);
  const int64_t down = (runs + tileRuns - 1) / tileRuns, across = (width + columns - 1) / columns;
  const Geometry geometry{.channels = channels, .height = height, .width = width, .runs = static_cast<int>(runs),
                          .patchSize = static_cast<int>(runs * patch), .tiles = static_cast<int>(down * across), .stride = static_cast<int>(stride),
                          .patchesDown = Divisor(height / patch), .patch = Divisor(patch), .row = Divisor(patches.size(2)), .channel = Divisor(channels),
                          .columnTiles = Divisor(across), .tileRuns = Divisor(tileRuns), .tileColumns = Divisor(columns),
                          .together = Divisor(together), .togetherTile = Divisor(together * tileRuns)};
  const unsigned rows = blocksFor(image.size(0) * (height / patch), 1);
  const auto bytes = static_cast<unsigned>(tileRuns * stride * int64_t{sizeof(float)});
  run(geometry, LaunchShape{.grid = dim3(rows, walkingBlocks(down * across)), .block = dim3(kThreads), .sharedBytes = bytes});
}

}  // namespace

void imageToPatches(cudaStream_t stream, const Tensor& image, int64_t patch, PatchOrder order, const Tensor& patches) {
  forRowsOfPatches(image, patch, patches, [&](const Geometry& geometry, const LaunchShape& shape) {
    withComputeType(patches.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::Type;
      const auto kernel = order == PatchOrder::channelFirst ? imageToPatchesKernel<PatchOrder::channelFirst, T>
                                                            : imageToPatchesKernel<PatchOrder::channelLast, T>;
      launch(stream, kernel, shape, geometry, image.f32(), elements<T>(patches));
    });
  });
}

void patchesToImage(cudaStream_t stream, const Tensor& patches, int64_t patch, PatchOrder order, const Tensor& image) {
  forRowsOfPatches(image, patch, patches, [&](const Geometry& geometry, const LaunchShape& shape) {
    withComputeType(patches.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::Type;
      const auto kernel = order == PatchOrder::channelFirst ? patchesToImageKernel<PatchOrder::channelFirst, T>
                                                            : patchesToImageKernel<PatchOrder::channelLast, T>;
      launch(stream, kernel, shape, geometry, elements<const T>(patches), image.f32());
    });
  });
}

}  // namespace repa::cuda
