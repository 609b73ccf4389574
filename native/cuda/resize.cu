// Resampling as torch.nn.functional.interpolate(align_corners=False) does it, by the formulas of cpu/resize.h. It is separable:
// out = Wy in Wx^T, where every row of W has a few neighbouring weights.
//
//   tables   one kernel, a thread an output row or column: `first[i]` and `count[i]` say which inputs count for output i,
//            `weight[i taps]` how much. In float64, as on the CPU.
//   images   a block makes up to 256 outputs of each of four neighbouring output rows, a thread one of each: as many columns as fit, of
//            a tile of channels. For each of its rows the input rows under the vertical taps are blended into a row in shared memory,
//            neighbours by neighbours, and the horizontal taps read that row. Where an output is made of more columns than the row
//            holds (4 KB), its parts follow one another, always in the same order. Four rows at once: their loads are under way
//            together, and read the same input rows but one or two, which L1 still has.
//
//   scratch  = vertical table | horizontal table, each  first | count | weight
#include "cuda/resize.h"

#include <algorithm>
#include <cmath>

#include "cuda/blocks.h"
#include "cuda/divisor.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
constexpr int kRows = 4;
constexpr int kRowFloats = 1024;

struct Axis {
  int64_t inputs, outputs;
  double scale;     // input pixels per output pixel
  double reach;     // of the filter to one side of its centre, in input pixels
  int64_t taps;     // room for weights per output
  int32_t *first, *count;
  float* weight;
};

int64_t tableFloats(const Axis& axis) { return axis.outputs * (2 + axis.taps); }

Axis axisOf(const cpu::ResizeArgs& args, int64_t inputs, int64_t outputs, double scale, float* memory) {
  const double radius = args.filter == cpu::ResizeFilter::bicubic ? 2.0 : 1.0;
  const double reach = radius * (args.antialias && scale > 1.0 ? scale : 1.0);
  const int64_t taps = 2 * static_cast<int64_t>(std::ceil(reach)) + (args.antialias ? 1 : 0);
  int32_t* first = reinterpret_cast<int32_t*>(memory);
  return {.inputs = inputs, .outputs = outputs, .scale = scale, .reach = reach, .taps = taps,
          .first = first, .count = first + outputs, .weight = memory + 2 * outputs};
}

struct Axes {
  Axis vertical, horizontal;
};

Axes axesOf(const cpu::ResizeArgs& args) {
  const Axis vertical = axisOf(args, args.inputHeight, args.outputHeight, args.scaleHeight, args.scratch);
  float* behind = args.scratch ? args.scratch + tableFloats(vertical) : nullptr;
  return {vertical, axisOf(args, args.inputWidth, args.outputWidth, args.scaleWidth, behind)};
}

/// The triangle, or Keys' piecewise cubic: 1 at 0 and 0 at every other integer.
__device__ double filterAt(bool bicubic, double a, double x) {
  x = fabs(x);
  if (!bicubic) return x < 1.0 ? 1.0 - x : 0.0;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

__device__ int64_t clampIndex(int64_t i, int64_t size) { return i < 0 ? 0 : i < size ? i : size - 1; }

/// Without antialias: the taps around the sample point; those beyond the border read the border's pixel, which here gets their
/// weights, so that the taps in use stay neighbours.
__device__ void fillInterpolationRow(const Axis& axis, bool bicubic, int64_t i) {
  double source = axis.scale * (static_cast<double>(i) + 0.5) - 0.5;
  if (!bicubic && source < 0.0) source = 0.0;
  const int64_t left = static_cast<int64_t>(floor(source)) - (bicubic ? 1 : 0);
  const int64_t first = clampIndex(left, axis.inputs);
  const int64_t last = clampIndex(left + axis.taps - 1, axis.inputs);
  float* weight = axis.weight + i * axis.taps;
  for (int64_t k = 0; k < axis.taps; ++k) weight[k] = 0.0f;
  for (int64_t k = 0; k < axis.taps; ++k) {
    const double w = filterAt(bicubic, -0.75, source - static_cast<double>(left + k));
    weight[clampIndex(left + k, axis.inputs) - first] += static_cast<float>(w);
  }
  axis.first[i] = static_cast<int32_t>(first);
  axis.count[i] = static_cast<int32_t>(last - first + 1);
}

/// With antialias: the filter stretched by the scale, over the pixels that exist, its weights made to sum to 1.
__device__ void fillAntialiasRow(const Axis& axis, bool bicubic, int64_t i) {
  const double stretch = axis.scale > 1.0 ? axis.scale : 1.0;
  const double centre = axis.scale * (static_cast<double>(i) + 0.5);
  // Both ends are cut towards zero, as torch casts them.
  int64_t first = static_cast<int64_t>(centre - axis.reach + 0.5);
  int64_t end = static_cast<int64_t>(centre + axis.reach + 0.5);
  first = clampIndex(first, axis.inputs);
  end = end < axis.inputs ? end : axis.inputs;
  if (end <= first) end = first + 1;
  if (end - first > axis.taps) end = first + axis.taps;
  float* weight = axis.weight + i * axis.taps;
  double sum = 0.0;
  for (int64_t k = 0; k < end - first; ++k) sum += filterAt(bicubic, -0.5, (static_cast<double>(first + k) - centre + 0.5) / stretch);
  for (int64_t k = 0; k < end - first; ++k) {
    const double w = filterAt(bicubic, -0.5, (static_cast<double>(first + k) - centre + 0.5) / stretch);
    weight[k] = static_cast<float>(sum != 0.0 ? w / sum : w);
  }
  axis.first[i] = static_cast<int32_t>(first);
  axis.count[i] = static_cast<int32_t>(end - first);
}

__global__ void __launch_bounds__(kThreads) resizeTablesKernel(const __grid_constant__ Axes axes, bool bicubic, bool antialias) {
  int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const bool isVertical = i < axes.vertical.outputs;
  const Axis& axis = isVertical ? axes.vertical : axes.horizontal;
  if (!isVertical) i -= axes.vertical.outputs;
  if (i >= axis.outputs) return;
  if (antialias) fillAntialiasRow(axis, bicubic, i);
  else fillInterpolationRow(axis, bicubic, i);
}

struct Images {
  const float* input;
  float* output;
  int64_t channels;
  Divisor rowGroups;  // of kRows output rows, in an image
  int columnsPerBlock;
  Divisor channelTile;
};

/// The grid: x groups of output rows of all images, y pieces of the rows, z tiles of channels.
__global__ void __launch_bounds__(kThreads, 4) resizeKernel(const __grid_constant__ Images images, const __grid_constant__ Axes axes) {
  __shared__ float blended[kRows][kRowFloats];
  const auto& [input, output, channels, rowGroups, columnsPerBlock, channelTile] = images;
  const Axis &vertical = axes.vertical, &horizontal = axes.horizontal;
  const int tile = channelTile.value();
  const int64_t firstChannel = int64_t{blockIdx.z} * tile;

  // What this thread makes: channel `channel` of output column x, in each of the rows.
  int inTile = static_cast<int>(threadIdx.x);
  const int inBlock = channelTile.divide(inTile);
  const int64_t firstColumn = int64_t{blockIdx.y} * columnsPerBlock;
  const int64_t x = firstColumn + inBlock, channel = firstChannel + inTile;
  const bool makes = inBlock < columnsPerBlock && x < horizontal.outputs && channel < channels;
  const int begin = makes ? horizontal.first[x] : 0, end = makes ? begin + horizontal.count[x] : 0;
  const float* weight = horizontal.weight + x * horizontal.taps;

  // What all of them need of the input.
  const int64_t lastColumn = min(firstColumn + columnsPerBlock, horizontal.outputs) - 1;
  const int left = horizontal.first[firstColumn], right = horizontal.first[lastColumn] + horizontal.count[lastColumn];
  int group = static_cast<int>(blockIdx.x);
  const int64_t image = rowGroups.divide(group), firstRow = int64_t{group} * kRows, rowStride = horizontal.inputs * channels;
  const int topRow = vertical.first[firstRow], taps = static_cast<int>(vertical.taps);
  const float* top = input + (image * vertical.inputs + topRow) * rowStride + firstChannel;
  const float* topWeight = vertical.weight + firstRow * taps;
  int64_t rowOffset[kRows];
  int rowCount[kRows], mostRows = 0;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const bool exists = firstRow + r < vertical.outputs;
    rowOffset[r] = exists ? (vertical.first[firstRow + r] - topRow) * rowStride : 0;
    rowCount[r] = exists ? vertical.count[firstRow + r] : 0;
    mostRows = max(mostRows, rowCount[r]);
  }

  const int part = kRowFloats / tile;
  float sum[kRows] = {};
  for (int partBegin = left; partBegin < right; partBegin += part) {
    const int partEnd = min(partBegin + part, right);
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < (partEnd - partBegin) * tile; i += kThreads) {
      int c = i;
      const float* from = top + int64_t{partBegin + channelTile.divide(c)} * channels + c;
      float value[kRows] = {};
      if (firstChannel + c < channels) {
        // Two pointers that walk, and offsets of the rows that do not change.
        const float* weights = topWeight;
#pragma unroll 2
        for (int k = 0; k < mostRows; ++k, from += rowStride, ++weights) {
#pragma unroll
          for (int r = 0; r < kRows; ++r)
            if (k < rowCount[r]) value[r] += weights[r * taps] * __ldg(from + rowOffset[r]);
        }
      }
#pragma unroll
      for (int r = 0; r < kRows; ++r) blended[r][i] = value[r];
    }
    __syncthreads();
    for (int column = max(begin, partBegin); column < min(end, partEnd); ++column) {
      const float w = weight[column - begin];
#pragma unroll
      for (int r = 0; r < kRows; ++r) sum[r] += w * blended[r][(column - partBegin) * tile + inTile];
    }
  }
  if (makes) {
    float* to = output + ((image * vertical.outputs + firstRow) * horizontal.outputs + x) * channels + channel;
#pragma unroll
    for (int r = 0; r < kRows; ++r)
      if (firstRow + r < vertical.outputs) to[r * horizontal.outputs * channels] = sum[r];
  }
}

}  // namespace

int64_t resizeScratchFloats(const cpu::ResizeArgs& args) {
  const Axes axes = axesOf(args);
  return tableFloats(axes.vertical) + tableFloats(axes.horizontal);
}

void resize(cudaStream_t stream, const cpu::ResizeArgs& args) {
  if (args.count == 0 || args.channels == 0) return;
  const Axes axes = axesOf(args);
  const LaunchShape perOutput{.grid = dim3(blocksFor(args.outputHeight + args.outputWidth, kThreads)), .block = dim3(kThreads)};
  launch(stream, resizeTablesKernel, perOutput, axes, args.filter == cpu::ResizeFilter::bicubic, args.antialias);
  const int64_t tile = std::min<int64_t>(args.channels, kThreads);
  const int columns = static_cast<int>(kThreads / tile);
  const int64_t rowGroups = (args.outputHeight + kRows - 1) / kRows;
  const Images images{.input = args.input, .output = args.output, .channels = args.channels, .rowGroups = Divisor(rowGroups),
                      .columnsPerBlock = columns, .channelTile = Divisor(tile)};
  launch(stream, resizeKernel,
         {.grid = dim3(blocksFor(args.count * rowGroups, 1), blocksAcross(args.outputWidth, columns, "columns", "Resize to fewer."),
                       blocksAcross(args.channels, tile, "channels", "Resize fewer at once.")),
          .block = dim3(kThreads)},
         images, axes);
}

}  // namespace repa::cuda
