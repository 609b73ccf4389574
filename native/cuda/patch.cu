// Between images and rows of patches: a permutation, bound by memory.
//
// The pixels of one row of patches are one run of memory on the side of the patches and one run a channel on the side of the
// image, and the permutation stays inside of them:
//
//   image    (channel | py, tx, px)          C runs of p W floats
//   patches  (tx, channel, py, px)           one run of C p W elements; or (tx, py, px, channel)
//
// Patches that are to be multiplied may be rows of more elements than they have, zeros behind them.
//
// A block of the grid's x is a row of patches, of its y a share of the elements. Threads run along what is written, so that a warp
// writes whole lines; what it reads are pieces of p pixels or C channels, whose lines its neighbours find in the caches.
#include "cuda/patch.h"

#include <algorithm>

#include "cuda/blocks.h"
#include "cuda/divisor.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kElementsPerThread = 4;

struct Geometry {
  int64_t channels, height, width;
  int rowPixels, rowElements, patchSize;               // C p W, W / p rows of patches' elements, C p p
  Divisor patchesDown, patch, patchArea, row, channel;  // H / p, p, p p, elements of a row, C
  Divisor imageRow, channelRows;                       // W, p W
};

/// Where element i of the patches' run is, from the first pixel of the row of patches; -1 behind a patch's last.
template <PatchOrder order>
__device__ __forceinline__ int64_t pixelOf(const Geometry& g, int i) {
  const int tx = g.row.divide(i);
  if (i >= g.patchSize) return -1;
  int channel, px;
  if constexpr (order == PatchOrder::channelFirst) {
    channel = g.patchArea.divide(i);
    px = i;
  } else {
    px = g.channel.divide(i);
    channel = i;
  }
  const int py = g.patch.divide(px);
  return (channel * g.height + py) * g.width + tx * g.patch.value() + px;
}

/// Where the pixel is that comes i-th in the order (channel, py, x), from the first element of the row of patches.
template <PatchOrder order>
__device__ __forceinline__ int elementOf(const Geometry& g, int i, int64_t* pixel) {
  const int channel = g.channelRows.divide(i);
  const int py = g.imageRow.divide(i);
  *pixel = (channel * g.height + py) * g.width + i;
  const int tx = g.patch.divide(i);
  const int inside = order == PatchOrder::channelFirst ? (channel * g.patch.value() + py) * g.patch.value() + i
                                                       : (py * g.patch.value() + i) * g.channel.value() + channel;
  return tx * g.row.value() + inside;
}

/// The first pixel of row of patches blockIdx.x.
__device__ __forceinline__ int64_t firstPixel(const Geometry& g) {
  int top = static_cast<int>(blockIdx.x);
  const int64_t sample = g.patchesDown.divide(top);
  return (sample * g.channels * g.height + int64_t{top} * g.patch.value()) * g.width;
}

template <PatchOrder order, class T>
__global__ void __launch_bounds__(kThreads) imageToPatchesKernel(const Geometry g, const float* image, T* patches) {
  image += firstPixel(g);
  patches += int64_t{blockIdx.x} * g.rowElements;
  for (int64_t i = int64_t{blockIdx.y} * kThreads + threadIdx.x; i < g.rowElements; i += int64_t{gridDim.y} * kThreads) {
    const int64_t pixel = pixelOf<order>(g, static_cast<int>(i));
    patches[i] = fromFloat<T>(pixel < 0 ? 0.0f : image[pixel]);
  }
}

template <PatchOrder order, class T>
__global__ void __launch_bounds__(kThreads) patchesToImageKernel(const Geometry g, const T* patches, float* image) {
  image += firstPixel(g);
  patches += int64_t{blockIdx.x} * g.rowElements;
  for (int64_t i = int64_t{blockIdx.y} * kThreads + threadIdx.x; i < g.rowPixels; i += int64_t{gridDim.y} * kThreads) {
    int64_t pixel;
    const int element = elementOf<order>(g, static_cast<int>(i), &pixel);
    image[pixel] = toFloat(patches[element]);
  }
}

/// Calls run(geometry, shape) unless there is nothing to move.
template <class Run>
void forRowsOfPatches(const Tensor& image, int64_t patch, const Tensor& patches, Run&& run) {
  if (image.elements() == 0) return;
  const int64_t channels = image.size(1), height = image.size(2), width = image.size(3), row = patches.size(2), elements = width / patch * row;
  const Geometry geometry{.channels = channels, .height = height, .width = width, .rowPixels = static_cast<int>(channels * patch * width),
                          .rowElements = static_cast<int>(elements), .patchSize = static_cast<int>(channels * patch * patch),
                          .patchesDown = Divisor(height / patch), .patch = Divisor(patch), .patchArea = Divisor(patch * patch),
                          .row = Divisor(row), .channel = Divisor(channels), .imageRow = Divisor(width), .channelRows = Divisor(patch * width)};
  const unsigned rows = blocksFor(image.size(0) * (height / patch), 1);
  run(geometry, LaunchShape{.grid = dim3(rows, std::min(blocksFor(elements, kThreads * kElementsPerThread), 65535u)), .block = dim3(kThreads)});
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
