#include "cpu/hog.h"

#include <cmath>

#include "cpu/simd.h"

// An image is one chunk of work. Its rows stream through a window of three, so the memory at work is a few rows:
//
//   rows     3 rows x 3 channels, as floats with one replicated pixel at either side
//   planes   2 sets (cell rows overlap by half) of 18 rows of the image: the weighted sums down the columns of
//            12 votes, R, G, B, R^2, G^2, B^2; when the last pixel row of a cell row has come, its set is summed along
//            the row into cells
//   cells    [gridHeight, gridWidth, 18]: every cell's averages, from which the descriptors are made in the end
//
//   scratch  = weights of the cells down | along | per thread: rows | planes | cells

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int kBins = 12;
constexpr int kPlanes = kBins + 6;
constexpr int kNeighbours = 9;
constexpr int kEdges = kNeighbours * kBins;
constexpr float kNoiseFloor = 0.02f;
constexpr float kClip = 0.2f;
constexpr float kContrastFloor = 0.01f;
static_assert(kEdges + 20 == kHogWidth);

int64_t roundUp(int64_t size) { return (size + kLanes - 1) / kLanes * kLanes; }

// Which pixels of an axis count for a cell and how much: weight falls linearly from the cell's centre to its
// neighbours' centres, and a cell's weights sum to 1.
struct CellWeights {
  int64_t room;  // weights per cell, zeros behind the last
  int32_t* begin;
  int32_t* end;
  float* weight;
};

int64_t weightRoom(int64_t pixels, int64_t cells) { return roundUp(2 * ((pixels + cells - 1) / cells) + 1); }

int64_t weightFloats(int64_t pixels, int64_t cells) { return cells * (2 + weightRoom(pixels, cells)); }

CellWeights weightsAt(float* memory, int64_t pixels, int64_t cells) {
  static_assert(sizeof(int32_t) == sizeof(float));
  int32_t* begin = reinterpret_cast<int32_t*>(memory);
  return {weightRoom(pixels, cells), begin, begin + cells, memory + 2 * cells};
}

void fillWeights(const CellWeights& weights, int64_t pixels, int64_t cells) {
  // A pixel on a cell's centre is on the rim of both neighbours: rounding must not make it count there.
  constexpr double kRim = 1e-9;
  const double cellsPerPixel = static_cast<double>(cells) / static_cast<double>(pixels);
  int64_t begin = 0;
  for (int64_t cell = 0; cell < cells; ++cell) {
    const auto weightOf = [&](int64_t pixel) {
      const double position = (static_cast<double>(pixel) + 0.5) * cellsPerPixel - 0.5;  // 0 at the centre of cell 0
      return 1 - std::fabs(position - static_cast<double>(cell));
    };
    while (weightOf(begin) <= kRim) ++begin;
    int64_t end = begin;
    double sum = 0;
    for (; end < pixels && weightOf(end) > kRim; ++end) sum += weightOf(end);
    float* weight = weights.weight + cell * weights.room;
    for (int64_t k = 0; k < weights.room; ++k)
      weight[k] = begin + k < end ? static_cast<float>(weightOf(begin + k) / sum) : 0.0f;
    weights.begin[cell] = static_cast<int32_t>(begin);
    weights.end[cell] = static_cast<int32_t>(end);
  }
}

// Rows have one pixel before and after the image's, and room for a whole vector from any of them.
int64_t rowStride(const HogArgs& args) { return roundUp(args.width + 2) + kLanes; }
int64_t rowsFloats(const HogArgs& args) { return 9 * rowStride(args); }
int64_t planeStride(const HogArgs& args) { return args.width + weightRoom(args.width, args.gridWidth) + kLanes; }
int64_t planesFloats(const HogArgs& args) { return 2 * kPlanes * planeStride(args); }
int64_t cellsFloats(const HogArgs& args) { return args.gridHeight * args.gridWidth * kPlanes; }

int64_t threadFloats(const HogArgs& args) { return rowsFloats(args) + planesFloats(args) + cellsFloats(args); }

int64_t hogScratchFloats(const HogArgs& args, int threads) {
  return weightFloats(args.height, args.gridHeight) + weightFloats(args.width, args.gridWidth) +
         threads * threadFloats(args);
}

// Pixel row y of the three channels, in [0, 255], replicated at both ends.
void loadRow(const HogArgs& args, const uint8_t* image, int64_t y, float* row) {
  for (int c = 0; c < 3; ++c, row += rowStride(args)) {
    const uint8_t* from = image + (c * args.height + y) * args.width;
    for (int64_t x = 0; x < args.width; ++x) row[x + 1] = from[x];
    row[0] = row[1];
    row[args.width + 1] = row[args.width];
  }
}

// Sum over the lanes by halves of registers; the kernel has one sum for every few multiplications.
float sumOf(Vec v) {
  typedef float Quad __attribute__((vector_size(16)));
  Quad quads[kLanes / 4];
  std::memcpy(quads, &v, sizeof v);
  for (int width = kLanes / 8; width > 0; width /= 2)
    for (int i = 0; i < width; ++i) quads[i] += quads[i + width];
  return (quads[0][0] + quads[0][2]) + (quads[0][1] + quads[0][3]);
}

Vec squareRoot(Vec v) {
  float lanes[kLanes];
  store(lanes, v);
  for (int i = 0; i < kLanes; ++i) lanes[i] = __builtin_sqrtf(lanes[i]);
  return load(lanes);
}

Vec absolute(Vec v) { return maximum(v, -v); }

// The angle of (x, y) in bins, [0, 12], to 2e-6; 0 for (0, 0). x and y are integers.
Vec orientation(Vec x, Vec y) {
  const Vec ax = absolute(x), ay = absolute(y);
  const Vec ratio = minimum(ax, ay) / maximum(maximum(ax, ay), splat(1.0f));
  const Vec z = ratio * ratio;
  // (6 / pi) atan(ratio) / ratio, interpolated at Chebyshev nodes.
  Vec p = splat(0.01460728f);
  p = p * z + -0.0694433076f;
  p = p * z + 0.158759831f;
  p = p * z + -0.256835285f;
  p = p * z + 0.379528013f;
  p = p * z + -0.636473567f;
  p = p * z + 1.90985784f;
  Vec angle = p * ratio;
  angle = ay > ax ? 3.0f - angle : angle;
  angle = x < 0.0f ? 6.0f - angle : angle;
  return y < 0.0f ? 12.0f - angle : angle;
}

// Adds one pixel row, in the middle of three, to the column sums of one or two cell rows.
void addRow(const HogArgs& args, const float* above, const float* row, const float* below, float* const* planes,
            const float* weights, int cellRows) {
  const int64_t channel = rowStride(args), plane = planeStride(args);
  for (int64_t x = 0; x < args.width; x += kLanes) {
    Vec gradientX = {}, gradientY = {}, square = {}, values[kPlanes];
    for (int c = 0; c < 3; ++c) {
      const Vec dx = load(row + c * channel + x + 2) - load(row + c * channel + x);
      const Vec dy = load(below + c * channel + x + 1) - load(above + c * channel + x + 1);
      const Vec length = dx * dx + dy * dy;
      gradientX = length > square ? dx : gradientX;
      gradientY = length > square ? dy : gradientY;
      square = maximum(length, square);
      const Vec colour = load(row + c * channel + x + 1) * (1.0f / 255.0f);
      values[kBins + c] = colour;
      values[kBins + 3 + c] = colour * colour;
    }
    const Vec magnitude = squareRoot(square) * (1.0f / 255.0f);
    const Vec bin = orientation(gradientX, gradientY);
    values[0] = magnitude * maximum(1.0f - minimum(bin, kBins - bin), Vec{});
    for (int k = 1; k < kBins; ++k)
      values[k] = magnitude * maximum(1.0f - absolute(bin - static_cast<float>(k)), Vec{});
    for (int i = 0; i < cellRows; ++i) {
      float* sums = planes[i] + x;
      for (int k = 0; k < kPlanes; ++k, sums += plane) store(sums, load(sums) + weights[i] * values[k]);
    }
  }
}

// cells[cell, k] = sum along the row of a cell row's column sums.
void sumAlong(const HogArgs& args, const CellWeights& along, const float* planes, float* cells) {
  for (int64_t cell = 0; cell < args.gridWidth; ++cell, cells += kPlanes) {
    const float* weight = along.weight + cell * along.room;
    const int64_t count = along.end[cell] - along.begin[cell];
    const float* plane = planes + along.begin[cell];
    for (int k = 0; k < kPlanes; ++k, plane += planeStride(args)) {
      Vec sum = {};
      for (int64_t i = 0; i < count; i += kLanes) sum += load(weight + i) * load(plane + i);
      cells[k] = sumOf(sum);
    }
  }
}

void averageCells(const HogArgs& args, const CellWeights& down, const CellWeights& along, const uint8_t* image,
                  float* scratch, float* cells) {
  const int64_t rowFloats = 3 * rowStride(args), setFloats = kPlanes * planeStride(args);
  float* rows = scratch;
  float* planes = rows + rowsFloats(args);
  for (int64_t i = 0; i < rowsFloats(args); ++i) rows[i] = 0.0f;
  loadRow(args, image, 0, rows);
  int64_t open = 0;  // the first cell row whose pixels have not all come
  for (int64_t y = 0; y < args.height; ++y) {
    const int64_t before = y > 0 ? y - 1 : 0, after = y + 1 < args.height ? y + 1 : y;
    if (after > y) loadRow(args, image, after, rows + after % 3 * rowFloats);
    float* sets[2];
    float weights[2];
    int cellRows = 0;
    for (int64_t cell = open; cell < args.gridHeight && down.begin[cell] <= y; ++cell) {
      float* set = planes + cell % 2 * setFloats;
      if (down.begin[cell] == y)
        for (int64_t i = 0; i < setFloats; ++i) set[i] = 0.0f;
      sets[cellRows] = set;
      weights[cellRows++] = down.weight[cell * down.room + y - down.begin[cell]];
    }
    addRow(args, rows + before % 3 * rowFloats, rows + y % 3 * rowFloats, rows + after % 3 * rowFloats, sets, weights,
           cellRows);
    while (open < args.gridHeight && down.end[open] == y + 1) {
      sumAlong(args, along, planes + open % 2 * setFloats, cells + open * args.gridWidth * kPlanes);
      ++open;
    }
  }
}

float lengthOf(const float* vector, int size) {
  Vec squares = {};
  int i = 0;
  for (; i + kLanes <= size; i += kLanes) squares += load(vector + i) * load(vector + i);
  const Vec rest = loadPartial(vector + i, size - i);
  return __builtin_sqrtf(sumOf(squares + rest * rest));
}

// Step 3 of the header, for the token at (gy, gx).
void describe(const HogArgs& args, const float* cells, int64_t gy, int64_t gx, float* descriptor) {
  const float* neighbours[kNeighbours];
  for (int64_t i = 0; i < kNeighbours; ++i) {
    int64_t y = gy + i / 3 - 1, x = gx + i % 3 - 1;
    y = y < 0 ? 0 : y < args.gridHeight ? y : args.gridHeight - 1;
    x = x < 0 ? 0 : x < args.gridWidth ? x : args.gridWidth - 1;
    neighbours[i] = cells + (y * args.gridWidth + x) * kPlanes;
    std::memcpy(descriptor + i * kBins, neighbours[i], kBins * sizeof(float));
  }
  const float* own = neighbours[4];

  const float length = lengthOf(descriptor, kEdges);
  const float soften = 1 / __builtin_sqrtf(length * length + kNoiseFloor * kNoiseFloor);
  for (int i = 0; i < kEdges; ++i) {
    const float v = descriptor[i] * soften;
    descriptor[i] = v < kClip ? v : kClip;
  }
  const float clippedLength = lengthOf(descriptor, kEdges);
  const float restore = clippedLength > 0 ? length * soften / clippedLength : 0.0f;
  for (int i = 0; i < kEdges; ++i) descriptor[i] *= restore;

  float* colours = descriptor + kEdges;
  float* next = colours;
  const float* mean = own + kBins;
  const float* meanSquare = mean + 3;
  for (int c = 0; c < 3; ++c) *next++ = 2 * mean[c] - 1;
  *next++ = 0.1f;
  for (int c = 0; c < 3; ++c) {
    const float variance = meanSquare[c] - mean[c] * mean[c];
    *next++ = 2 * __builtin_sqrtf((variance > 0 ? variance : 0.0f) + kContrastFloor * kContrastFloor);
  }
  for (int neighbour = 1; neighbour < kNeighbours; neighbour += 2)
    for (int c = 0; c < 3; ++c) *next++ = 2 * (neighbours[neighbour][kBins + c] - mean[c]);
  float texture = 0;
  for (int k = 0; k < kBins; ++k) texture += own[k];
  *next++ = 2 * texture;
  const float scale = 1 / lengthOf(colours, kHogWidth - kEdges);
  for (float* colour = colours; colour < next; ++colour) *colour *= scale;
}

void hog(ThreadPool& pool, const HogArgs& args) {
  float* memory = args.scratch;
  const CellWeights down = weightsAt(memory, args.height, args.gridHeight);
  memory += weightFloats(args.height, args.gridHeight);
  const CellWeights along = weightsAt(memory, args.width, args.gridWidth);
  memory += weightFloats(args.width, args.gridWidth);
  fillWeights(down, args.height, args.gridHeight);
  fillWeights(along, args.width, args.gridWidth);

  pool.parallelFor(args.batch, [&](int64_t image, int thread) {
    float* scratch = memory + thread * threadFloats(args);
    float* cells = scratch + rowsFloats(args) + planesFloats(args);
    averageCells(args, down, along, args.images + image * 3 * args.height * args.width, scratch, cells);
    float* descriptor = args.descriptors + image * args.gridHeight * args.gridWidth * kHogWidth;
    for (int64_t gy = 0; gy < args.gridHeight; ++gy)
      for (int64_t gx = 0; gx < args.gridWidth; ++gx, descriptor += kHogWidth)
        describe(args, cells, gy, gx, descriptor);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const HogKernels& hogKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr HogKernels table = {hog, hogScratchFloats};
  return table;
}

}  // namespace repa::cpu
