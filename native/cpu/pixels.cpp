#include "cpu/pixels.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int64_t kPixelsPerChunk = 1 << 14;

void normalizeImages(ThreadPool& pool, const NormalizeImagesArgs& args) {
  const int64_t chunksPerPlane = (args.pixels + kPixelsPerChunk - 1) / kPixelsPerChunk;
  const int64_t planesPerChunk = 1 + kPixelsPerChunk / (args.pixels + 1);
  const int64_t planes = args.batch * 3;
  const int64_t planeGroups = (planes + planesPerChunk - 1) / planesPerChunk;
  pool.parallelFor(planeGroups * chunksPerPlane, [&](int64_t chunk, int) {
    const int64_t firstPlane = chunk / chunksPerPlane * planesPerChunk;
    const int64_t lastPlane = firstPlane + planesPerChunk < planes ? firstPlane + planesPerChunk : planes;
    const int64_t begin = chunk % chunksPerPlane * kPixelsPerChunk;
    const int64_t end = begin + kPixelsPerChunk < args.pixels ? begin + kPixelsPerChunk : args.pixels;
    for (int64_t plane = firstPlane; plane < lastPlane; ++plane) {
      const uint8_t* from = args.images + plane * args.pixels;
      float* to = args.out + plane * args.pixels;
      const float mean = args.mean[plane % 3], deviation = args.std[plane % 3], divisor = args.divisor;
      for (int64_t i = begin; i < end; ++i) to[i] = (static_cast<float>(from[i]) / divisor - mean) / deviation;
    }
  });
}

// trunc(clamp(..)) of a run of one channel. The comparisons are written so that NaN fails the first and becomes 0.
template <class Value>
void toLevels(const Value* from, const ToUint8Args& args, uint8_t* levels, int64_t count) {
  const Value shift = static_cast<Value>(args.shift), scale = static_cast<Value>(args.scale),
              offset = static_cast<Value>(args.offset);
  for (int64_t i = 0; i < count; ++i) {
    const Value level = (from[i] + shift) * scale + offset;
    const Value atLeast0 = level > Value{0} ? level : Value{0};
    const Value clamped = atLeast0 < Value{255} ? atLeast0 : Value{255};
    levels[i] = static_cast<uint8_t>(static_cast<int32_t>(clamped));
  }
}

// One image's pixels [begin, end), tile by tile: contiguous arithmetic first, which becomes vectors, then the bytes are
// interleaved out of the first cache.
template <class Value>
void toUint8Pixels(const Value* image, const ToUint8Args& args, uint8_t* out, int64_t begin, int64_t end) {
  constexpr int64_t kTile = 512;
  uint8_t levels[3][kTile];
  for (int64_t at = begin; at < end; at += kTile) {
    const int64_t count = at + kTile < end ? kTile : end - at;
    uint8_t* to = out + at * args.channels;
    if (args.channels == 3) {
      for (int64_t c = 0; c < 3; ++c) toLevels(image + c * args.pixels + at, args, levels[c], count);
      for (int64_t i = 0; i < count; ++i) {
        to[3 * i] = levels[0][i];
        to[3 * i + 1] = levels[1][i];
        to[3 * i + 2] = levels[2][i];
      }
    } else {
      for (int64_t c = 0; c < args.channels; ++c) {
        toLevels(image + c * args.pixels + at, args, levels[0], count);
        for (int64_t i = 0; i < count; ++i) to[i * args.channels + c] = levels[0][i];
      }
    }
  }
}

void toUint8(ThreadPool& pool, const ToUint8Args& args) {
  const int64_t chunksPerImage = (args.pixels + kPixelsPerChunk - 1) / kPixelsPerChunk;
  const int64_t imagesPerChunk = 1 + kPixelsPerChunk / (args.pixels + 1);
  const int64_t imageGroups = (args.batch + imagesPerChunk - 1) / imagesPerChunk;
  pool.parallelFor(imageGroups * chunksPerImage, [&](int64_t chunk, int) {
    const int64_t firstImage = chunk / chunksPerImage * imagesPerChunk;
    const int64_t lastImage = firstImage + imagesPerChunk < args.batch ? firstImage + imagesPerChunk : args.batch;
    const int64_t begin = chunk % chunksPerImage * kPixelsPerChunk;
    const int64_t end = begin + kPixelsPerChunk < args.pixels ? begin + kPixelsPerChunk : args.pixels;
    for (int64_t image = firstImage; image < lastImage; ++image) {
      const int64_t at = image * args.channels * args.pixels;
      if (args.isDouble)
        toUint8Pixels(static_cast<const double*>(args.images) + at, args, args.out + at, begin, end);
      else
        toUint8Pixels(static_cast<const float*>(args.images) + at, args, args.out + at, begin, end);
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const PixelsKernels& pixelsKernels<CpuLevel::REPA_LEVEL>() {
  using namespace REPA_LEVEL;
  static constexpr PixelsKernels table = {normalizeImages, toUint8};
  return table;
}

}  // namespace repa::cpu
