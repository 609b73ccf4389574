#include "cpu/pooling.h"

#include "cpu/chunks.h"
#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// The part of a window, from `first` on in the unpadded image, that lies in [0, size).
Range inside(int64_t first, int64_t kernel, int64_t size) {
  const int64_t end = first + kernel;
  return {first > 0 ? first : 0, end < size ? end : size};
}

template <bool kMax>
void poolPixel(const PoolArgs& args, const float* image, int64_t y, int64_t x, float* out) {
  const Range rows = inside(y, args.kernelHeight, args.height), columns = inside(x, args.kernelWidth, args.width);
  int64_t count = (rows.end - rows.begin) * (columns.end - columns.begin);
  if (args.kind == PoolKind::averageIncludingZeros) {
    // A window that reaches beyond the padding ends there.
    const int64_t bottom = args.paddedHeight - args.padTop, right = args.paddedWidth - args.padLeft;
    const int64_t endY = y + args.kernelHeight, endX = x + args.kernelWidth;
    count = ((endY < bottom ? endY : bottom) - y) * ((endX < right ? endX : right) - x);
  }
  const float share = 1.0f / static_cast<float>(count);
  const auto at = [&](int64_t row, int64_t column) { return image + (row * args.width + column) * args.channels; };
  forEachVector(args.channels, [&](int64_t c, auto lanes, int) {
    Vec v = kMax ? load(at(rows.begin, columns.begin) + c, lanes) : Vec{};
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      for (int64_t column = columns.begin; column < columns.end; ++column) {
        const Vec pixel = load(at(row, column) + c, lanes);
        // The comparison is this way round so that a NaN of the window is its maximum, as in torch.
        if constexpr (kMax) v = v >= pixel || v != v ? v : pixel;
        else v += pixel;
      }
    }
    store(out + c, kMax ? v : v * share, lanes);
  });
}

void pool2d(ThreadPool& pool, const PoolArgs& args) {
  const int64_t rows = args.batch * args.outHeight;
  const int64_t chunks = rowParts(rows, args.outWidth * args.channels * args.kernelHeight * args.kernelWidth, 1);
  pool.parallelFor(chunks, [&](int64_t chunk, int) {
    const Range range = evenPart(rows, chunks, chunk);
    for (int64_t row = range.begin; row < range.end; ++row) {
      const float* image = args.x + row / args.outHeight * args.height * args.width * args.channels;
      const int64_t y = row % args.outHeight * args.strideHeight - args.padTop;
      for (int64_t column = 0; column < args.outWidth; ++column) {
        float* out = args.out + (row * args.outWidth + column) * args.channels;
        const int64_t x = column * args.strideWidth - args.padLeft;
        if (args.kind == PoolKind::max) poolPixel<true>(args, image, y, x, out);
        else poolPixel<false>(args, image, y, x, out);
      }
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const PoolKernels& poolKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr PoolKernels table = {REPA_LEVEL::pool2d};
  return table;
}

}  // namespace repa::cpu
