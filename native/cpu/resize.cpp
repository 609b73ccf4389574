#include "cpu/resize.h"

#include <cmath>

#include "cpu/simd.h"

// Resampling is separable: out = Wy in Wx^T, where every row of W has a few neighbouring weights.
//
//   tables   one per axis: for output i, `first[i]` and `count[i]` say which inputs, `weight[i * taps]` their weights
//   rows     an output row is made alone: the rows of the input under its vertical taps are blended into one row, in
//            vectors along width and channels; the horizontal taps then read this row out of the first cache
//
//   scratch  = vertical table | horizontal table | one blended row [inputWidth, channels] per thread

namespace repa::cpu::REPA_LEVEL {
namespace {

struct AxisTable {
  int64_t taps;  // room for weights per output
  int32_t* first;
  int32_t* count;
  float* weight;
};

double filterRadius(ResizeFilter filter) { return filter == ResizeFilter::bicubic ? 2.0 : 1.0; }

// How far the filter reaches to one side of its centre, in input pixels.
double support(const ResizeArgs& args, double scale) {
  return filterRadius(args.filter) * (args.antialias && scale > 1.0 ? scale : 1.0);
}

int64_t tapsOf(const ResizeArgs& args, double scale) {
  return 2 * static_cast<int64_t>(std::ceil(support(args, scale))) + (args.antialias ? 1 : 0);
}

int64_t tableFloats(int64_t outputs, int64_t taps) { return outputs * (2 + taps); }

AxisTable tableAt(float* memory, int64_t outputs, int64_t taps) {
  static_assert(sizeof(int32_t) == sizeof(float));
  int32_t* first = reinterpret_cast<int32_t*>(memory);
  return {taps, first, first + outputs, memory + 2 * outputs};
}

// The triangle, or Keys' piecewise cubic: 1 at 0 and 0 at every other integer.
double filterAt(ResizeFilter filter, double a, double x) {
  x = std::fabs(x);
  if (filter == ResizeFilter::bilinear) return x < 1.0 ? 1.0 - x : 0.0;
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
  if (x < 2.0) return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
  return 0.0;
}

int64_t clampIndex(int64_t i, int64_t size) { return i < 0 ? 0 : i < size ? i : size - 1; }

// Without antialias: the taps around the sample point; those beyond the border read the border's pixel, which here gets
// their weights, so that the taps in use stay neighbours.
void fillInterpolationRow(const ResizeArgs& args, const AxisTable& table, int64_t i, double scale, int64_t inputs) {
  const bool bicubic = args.filter == ResizeFilter::bicubic;
  double source = scale * (static_cast<double>(i) + 0.5) - 0.5;
  if (!bicubic && source < 0.0) source = 0.0;
  const int64_t left = static_cast<int64_t>(std::floor(source)) - (bicubic ? 1 : 0);
  const int64_t first = clampIndex(left, inputs);
  const int64_t last = clampIndex(left + table.taps - 1, inputs);
  float* weight = table.weight + i * table.taps;
  for (int64_t k = 0; k < table.taps; ++k) weight[k] = 0.0f;
  for (int64_t k = 0; k < table.taps; ++k) {
    const double w = filterAt(args.filter, -0.75, source - static_cast<double>(left + k));
    weight[clampIndex(left + k, inputs) - first] += static_cast<float>(w);
  }
  table.first[i] = static_cast<int32_t>(first);
  table.count[i] = static_cast<int32_t>(last - first + 1);
}

// With antialias: the filter stretched by the scale, over the pixels that exist, its weights made to sum to 1.
void fillAntialiasRow(const ResizeArgs& args, const AxisTable& table, int64_t i, double scale, int64_t inputs) {
  const double reach = support(args, scale);
  const double stretch = scale > 1.0 ? scale : 1.0;
  const double centre = scale * (static_cast<double>(i) + 0.5);
  // Both ends are cut towards zero, as torch casts them.
  int64_t first = static_cast<int64_t>(centre - reach + 0.5);
  int64_t end = static_cast<int64_t>(centre + reach + 0.5);
  first = clampIndex(first, inputs);
  end = end < inputs ? end : inputs;
  if (end <= first) end = first + 1;
  if (end - first > table.taps) end = first + table.taps;
  float* weight = table.weight + i * table.taps;
  double sum = 0.0;
  for (int64_t k = 0; k < end - first; ++k)
    sum += filterAt(args.filter, -0.5, (static_cast<double>(first + k) - centre + 0.5) / stretch);
  for (int64_t k = 0; k < end - first; ++k) {
    const double w = filterAt(args.filter, -0.5, (static_cast<double>(first + k) - centre + 0.5) / stretch);
    weight[k] = static_cast<float>(sum != 0.0 ? w / sum : w);
  }
  table.first[i] = static_cast<int32_t>(first);
  table.count[i] = static_cast<int32_t>(end - first);
}

void fillTable(const ResizeArgs& args, const AxisTable& table, double scale, int64_t inputs, int64_t outputs) {
  for (int64_t i = 0; i < outputs; ++i) {
    if (args.antialias)
      fillAntialiasRow(args, table, i, scale, inputs);
    else
      fillInterpolationRow(args, table, i, scale, inputs);
  }
}

// out[i] = sum over k of weight[k] * rows[k * stride + i], i in [0, size).
void blend(const float* rows, int64_t stride, const float* weight, int64_t count, int64_t size, float* out) {
  int64_t i = 0;
  for (; i + kLanes <= size; i += kLanes) {
    Vec sum = {};
    for (int64_t k = 0; k < count; ++k) sum += weight[k] * load(rows + k * stride + i);
    store(out + i, sum);
  }
  for (; i < size; ++i) {
    float sum = 0.0f;
    for (int64_t k = 0; k < count; ++k) sum += weight[k] * rows[k * stride + i];
    out[i] = sum;
  }
}

// The horizontal pass of one row.
void blendColumns(const float* row, const AxisTable& table, int64_t outputs, int64_t channels, float* out) {
  if (channels > 1) {
    for (int64_t x = 0; x < outputs; ++x)
      blend(row + table.first[x] * channels, channels, table.weight + x * table.taps, table.count[x], channels,
            out + x * channels);
    return;
  }
  for (int64_t x = 0; x < outputs; ++x) {
    const float* from = row + table.first[x];
    const float* weight = table.weight + x * table.taps;
    const int32_t count = table.count[x];
    if (count == 4) {
      out[x] = (weight[0] * from[0] + weight[1] * from[1]) + (weight[2] * from[2] + weight[3] * from[3]);
    } else {
      float sum = 0.0f;
      for (int32_t k = 0; k < count; ++k) sum += weight[k] * from[k];
      out[x] = sum;
    }
  }
}

int64_t resizeScratchFloats(const ResizeArgs& args, int threads) {
  return tableFloats(args.outputHeight, tapsOf(args, args.scaleHeight)) +
         tableFloats(args.outputWidth, tapsOf(args, args.scaleWidth)) + threads * args.inputWidth * args.channels;
}

void resize(ThreadPool& pool, const ResizeArgs& args) {
  const int64_t tapsY = tapsOf(args, args.scaleHeight), tapsX = tapsOf(args, args.scaleWidth);
  float* memory = args.scratch;
  const AxisTable vertical = tableAt(memory, args.outputHeight, tapsY);
  memory += tableFloats(args.outputHeight, tapsY);
  const AxisTable horizontal = tableAt(memory, args.outputWidth, tapsX);
  memory += tableFloats(args.outputWidth, tapsX);
  fillTable(args, vertical, args.scaleHeight, args.inputHeight, args.outputHeight);
  fillTable(args, horizontal, args.scaleWidth, args.inputWidth, args.outputWidth);

  const int64_t inputRow = args.inputWidth * args.channels, outputRow = args.outputWidth * args.channels;
  const int64_t rows = args.count * args.outputHeight;
  const int64_t rowsPerChunk = 1 + 65536 / (inputRow * tapsY / 4 + outputRow * tapsX + 1);
  pool.parallelFor((rows + rowsPerChunk - 1) / rowsPerChunk, [&](int64_t chunk, int thread) {
    float* blended = memory + thread * inputRow;
    const int64_t begin = chunk * rowsPerChunk;
    const int64_t end = begin + rowsPerChunk < rows ? begin + rowsPerChunk : rows;
    for (int64_t row = begin; row < end; ++row) {
      const int64_t y = row % args.outputHeight;
      const float* image = args.input + row / args.outputHeight * args.inputHeight * inputRow;
      blend(image + vertical.first[y] * inputRow, inputRow, vertical.weight + y * tapsY, vertical.count[y], inputRow,
            blended);
      blendColumns(blended, horizontal, args.outputWidth, args.channels, args.output + row * outputRow);
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const ResizeKernels& resizeKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr ResizeKernels table = {resize, resizeScratchFloats};
  return table;
}

}  // namespace repa::cpu
