// The built-in encoder's descriptors: the three steps of cpu/hog.h, by its formulas.
//
//   weights      a thread a cell row or column: which pixels of the axis count for it and how much, in float64
//   cells        a block a cell: its threads share out the pixels under the cell and its slopes to the neighbours, each keeps 18
//                sums in registers (12 votes, R, G, B, R^2, G^2, B^2), and the block adds them up, always in the same order. A
//                pixel is looked at by the four cells around it: three gradients too many, but no atomics and no second pass.
//   descriptors  a warp a token: lanes hold the 108 edges, then the 20 colours
//
//   scratch  = weights down | weights along, each  begin | end | weight,  | cells [batch, gridHeight gridWidth, 18]
#include "cuda/hog.h"

#include <cmath>

#include "cuda/blocks.h"
#include "cuda/launch.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

namespace {

constexpr int kBins = 12;
constexpr int kPlanes = kBins + 6;
constexpr int kNeighbours = 9;
constexpr int kEdges = kNeighbours * kBins;
constexpr int kColours = cpu::kHogWidth - kEdges;
constexpr float kNoiseFloor = 0.02f;
constexpr float kClip = 0.2f;
constexpr float kContrastFloor = 0.01f;

constexpr int kThreads = 128;
constexpr int kWarps = kThreads / 32;

/// Which pixels of an axis count for a cell and how much: weight falls linearly from the cell's centre to its neighbours' centres,
/// and a cell's weights sum to 1.
struct Weights {
  int64_t pixels, cells;
  int64_t room;  // weights per cell
  int32_t *begin, *end;
  float* weight;
};

Weights weightsAt(float* memory, int64_t pixels, int64_t cells) {
  int32_t* begin = reinterpret_cast<int32_t*>(memory);
  return {.pixels = pixels, .cells = cells, .room = 2 * ((pixels + cells - 1) / cells) + 1,
          .begin = begin, .end = begin + cells, .weight = memory + 2 * cells};
}

int64_t weightFloats(const Weights& weights) { return weights.cells * (2 + weights.room); }

struct Layout {
  Weights down, along;
  float* cells;
};

Layout layoutOf(const cpu::HogArgs& args) {
  const Weights down = weightsAt(args.scratch, args.height, args.gridHeight);
  float* behindDown = args.scratch ? args.scratch + weightFloats(down) : nullptr;
  const Weights along = weightsAt(behindDown, args.width, args.gridWidth);
  return {down, along, behindDown ? behindDown + weightFloats(along) : nullptr};
}

__device__ double weightOf(const Weights& weights, int64_t cell, int64_t pixel) {
  const double cellsPerPixel = static_cast<double>(weights.cells) / static_cast<double>(weights.pixels);
  const double position = (static_cast<double>(pixel) + 0.5) * cellsPerPixel - 0.5;  // 0 at the centre of cell 0
  return 1.0 - fabs(position - static_cast<double>(cell));
}

__global__ void __launch_bounds__(kThreads) hogWeightsKernel(const __grid_constant__ Weights down, const __grid_constant__ Weights along) {
  // A pixel on a cell's centre is on the rim of both neighbours: rounding must not make it count there.
  constexpr double kRim = 1e-9;
  int64_t cell = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const Weights& weights = cell < down.cells ? down : along;
  if (cell >= down.cells) cell -= down.cells;
  if (cell >= weights.cells) return;
  // The first pixel is about where the cell before has its centre.
  const double pixelsPerCell = static_cast<double>(weights.pixels) / static_cast<double>(weights.cells);
  int64_t begin = max(int64_t{0}, static_cast<int64_t>((static_cast<double>(cell) - 0.5) * pixelsPerCell - 0.5) - 1);
  while (weightOf(weights, cell, begin) <= kRim) ++begin;
  int64_t end = begin;
  double sum = 0.0;
  for (; end < weights.pixels && weightOf(weights, cell, end) > kRim; ++end) sum += weightOf(weights, cell, end);
  float* weight = weights.weight + cell * weights.room;
  for (int64_t pixel = begin; pixel < end; ++pixel) weight[pixel - begin] = static_cast<float>(weightOf(weights, cell, pixel) / sum);
  weights.begin[cell] = static_cast<int32_t>(begin);
  weights.end[cell] = static_cast<int32_t>(end);
}

/// The angle of (x, y) in bins, [0, 12], to 2e-6; 0 for (0, 0). x and y are integers.
__device__ __forceinline__ float orientation(float x, float y) {
  const float ax = fabsf(x), ay = fabsf(y);
  const float ratio = fminf(ax, ay) / fmaxf(fmaxf(ax, ay), 1.0f);
  const float z = ratio * ratio;
  // (6 / pi) atan(ratio) / ratio, interpolated at Chebyshev nodes.
  float p = 0.01460728f;
  p = p * z + -0.0694433076f;
  p = p * z + 0.158759831f;
  p = p * z + -0.256835285f;
  p = p * z + 0.379528013f;
  p = p * z + -0.636473567f;
  p = p * z + 1.90985784f;
  float angle = p * ratio;
  angle = ay > ax ? 3.0f - angle : angle;
  angle = x < 0.0f ? 6.0f - angle : angle;
  return y < 0.0f ? 12.0f - angle : angle;
}

/// sums += weight times the 18 values of the pixel at (x, y).
__device__ __forceinline__ void addPixel(const uint8_t* image, int64_t height, int64_t width, int64_t x, int64_t y, float weight,
                                         float (&sums)[kPlanes]) {
  const int64_t left = max(x - 1, int64_t{0}), right = min(x + 1, width - 1);
  const int64_t above = max(y - 1, int64_t{0}), below = min(y + 1, height - 1);
  float gradientX = 0.0f, gradientY = 0.0f, square = 0.0f;
#pragma unroll
  for (int c = 0; c < 3; ++c) {
    const uint8_t* plane = image + c * height * width;
    const float dx = static_cast<float>(plane[y * width + right]) - static_cast<float>(plane[y * width + left]);
    const float dy = static_cast<float>(plane[below * width + x]) - static_cast<float>(plane[above * width + x]);
    const float length = dx * dx + dy * dy;
    gradientX = length > square ? dx : gradientX;
    gradientY = length > square ? dy : gradientY;
    square = fmaxf(length, square);
    const float colour = static_cast<float>(plane[y * width + x]) * (1.0f / 255.0f);
    sums[kBins + c] += weight * colour;
    sums[kBins + 3 + c] += weight * (colour * colour);
  }
  const float magnitude = sqrtf(square) * (1.0f / 255.0f);
  const float bin = orientation(gradientX, gradientY);
  sums[0] += weight * (magnitude * fmaxf(1.0f - fminf(bin, kBins - bin), 0.0f));
#pragma unroll
  for (int k = 1; k < kBins; ++k) sums[k] += weight * (magnitude * fmaxf(1.0f - fabsf(bin - static_cast<float>(k)), 0.0f));
}

__global__ void __launch_bounds__(kThreads) hogCellsKernel(const uint8_t* images, const Weights down, const Weights along, float* cells) {
  const unsigned cellsPerImage = static_cast<unsigned>(down.cells * along.cells);
  const unsigned image = blockIdx.x / cellsPerImage, cell = blockIdx.x % cellsPerImage;
  const unsigned cellY = cell / static_cast<unsigned>(along.cells), cellX = cell % static_cast<unsigned>(along.cells);
  images += int64_t{image} * 3 * down.pixels * along.pixels;

  const int top = down.begin[cellY], left = along.begin[cellX];
  const int columns = along.end[cellX] - left, pixels = (down.end[cellY] - top) * columns;
  const float* weightDown = down.weight + cellY * down.room;
  const float* weightAlong = along.weight + cellX * along.room;
  float sums[kPlanes] = {};
  for (int i = static_cast<int>(threadIdx.x); i < pixels; i += kThreads) {
    const int y = i / columns, x = i % columns;
    addPixel(images, down.pixels, along.pixels, left + x, top + y, weightDown[y] * weightAlong[x], sums);
  }

  __shared__ float warpSums[kWarps][kPlanes];
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
  for (int k = 0; k < kPlanes; ++k) {
    const float sum = warpSum(sums[k]);
    if (lane == 0) warpSums[warp][k] = sum;
  }
  __syncthreads();
  if (threadIdx.x < kPlanes) {
    float sum = 0.0f;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) sum += warpSums[w][threadIdx.x];
    cells[int64_t{blockIdx.x} * kPlanes + threadIdx.x] = sum;
  }
}

/// Step 3 of cpu/hog.h.
__global__ void __launch_bounds__(kThreads)
hogDescriptorsKernel(const float* cells, int64_t tokens, int gridHeight, int gridWidth, float* descriptors) {
  const int64_t token = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  if (token >= tokens) return;
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int64_t image = token / (gridHeight * gridWidth);
  const int cell = static_cast<int>(token % (gridHeight * gridWidth)), cellY = cell / gridWidth, cellX = cell % gridWidth;
  const float* ofImage = cells + image * gridHeight * gridWidth * kPlanes;
  // Cell i of the 3 x 3 around the token's own, 4; beyond the border, the border's.
  const auto neighbour = [&](int i) {
    const int y = min(max(cellY + i / 3 - 1, 0), gridHeight - 1), x = min(max(cellX + i % 3 - 1, 0), gridWidth - 1);
    return ofImage + (y * gridWidth + x) * kPlanes;
  };
  float* descriptor = descriptors + token * cpu::kHogWidth;

  constexpr int kEdgesPerLane = (kEdges + 31) / 32;
  float edges[kEdgesPerLane], square = 0.0f;
#pragma unroll
  for (int j = 0; j < kEdgesPerLane; ++j) {
    const int i = lane + 32 * j;
    edges[j] = i < kEdges ? neighbour(i / kBins)[i % kBins] : 0.0f;
    square += edges[j] * edges[j];
  }
  const float length = sqrtf(warpSum(square));
  const float soften = 1.0f / sqrtf(length * length + kNoiseFloor * kNoiseFloor);
  float clippedSquare = 0.0f;
#pragma unroll
  for (int j = 0; j < kEdgesPerLane; ++j) {
    edges[j] = fminf(edges[j] * soften, kClip);
    clippedSquare += edges[j] * edges[j];
  }
  const float clippedLength = sqrtf(warpSum(clippedSquare));
  const float restore = clippedLength > 0.0f ? length * soften / clippedLength : 0.0f;
#pragma unroll
  for (int j = 0; j < kEdgesPerLane; ++j)
    if (lane + 32 * j < kEdges) descriptor[lane + 32 * j] = edges[j] * restore;

  // [ 2 mean - 1 (3) | 0.1 | contrast (3) | neighbours' means less the own (12) | texture ]
  const float* own = neighbour(4);
  const float* mean = own + kBins;
  const float* meanSquare = mean + 3;
  float colour = 0.0f;
  if (lane < 3) {
    colour = 2.0f * mean[lane] - 1.0f;
  } else if (lane == 3) {
    colour = 0.1f;
  } else if (lane < 7) {
    const float variance = meanSquare[lane - 4] - mean[lane - 4] * mean[lane - 4];
    colour = 2.0f * sqrtf(fmaxf(variance, 0.0f) + kContrastFloor * kContrastFloor);
  } else if (lane < 19) {
    const int which = lane - 7, c = which % 3;  // above, left, right, below: cells 1, 3, 5 and 7
    colour = 2.0f * (neighbour(2 * (which / 3) + 1)[kBins + c] - mean[c]);
  } else if (lane < kColours) {
    float texture = 0.0f;
    for (int k = 0; k < kBins; ++k) texture += own[k];
    colour = 2.0f * texture;
  }
  const float scale = 1.0f / sqrtf(warpSum(colour * colour));
  if (lane < kColours) descriptor[kEdges + lane] = colour * scale;
}

}  // namespace

int64_t hogScratchFloats(const cpu::HogArgs& args) {
  const Layout layout = layoutOf(args);
  return weightFloats(layout.down) + weightFloats(layout.along) + args.batch * args.gridHeight * args.gridWidth * kPlanes;
}

void hog(cudaStream_t stream, const cpu::HogArgs& args) {
  const int64_t tokens = args.batch * args.gridHeight * args.gridWidth;
  if (tokens == 0) return;
  const Layout layout = layoutOf(args);
  const LaunchShape perCell{.grid = dim3(blocksFor(tokens, 1)), .block = dim3(kThreads)};
  const LaunchShape perWeights{.grid = dim3(blocksFor(args.gridHeight + args.gridWidth, kThreads)), .block = dim3(kThreads)};
  launch(stream, hogWeightsKernel, perWeights, layout.down, layout.along);
  launch(stream, hogCellsKernel, perCell, args.images, layout.down, layout.along, layout.cells);
  const LaunchShape warpPerToken{.grid = dim3(blocksFor(tokens, kWarps)), .block = dim3(kThreads)};
  launch(stream, hogDescriptorsKernel, warpPerToken, static_cast<const float*>(layout.cells), tokens, static_cast<int>(args.gridHeight),
         static_cast<int>(args.gridWidth), args.descriptors);
}

}  // namespace repa::cuda
