// The image of a convolution as operand A of a product: row m is an output pixel, summand k = (kernel row, kernel column, channel), and
// the number at (m, k) is read where it lies in x [N, H, W, C], or is a zero of the padding. Nothing like im2col's matrix is stored.
//
// A unit of 16 bytes whose channels are whole (C a multiple of it) lies in one pixel and is copied as one; the place of each of the
// tile's 128 pixels is worked out once and kept in shared memory, and a thread counts its kernel position up from stage to stage.
#pragma once

#include "cuda/divisor.h"
#include "cuda/gemm_ffma_tile.cuh"
#include "cuda/gemm_mma_tile.cuh"

namespace repa::cuda {

struct ConvImage {
  const void* x;
  int64_t sampleElements;  // H W C
  int height, width, channels;
  int upsampleShift;  // 1: every pixel counts 2 x 2 times
  int strideHeight, strideWidth, padTop, padLeft;
  int rows, summands;  // of the product
  Divisor outArea, outWidth, channel, kernelColumn;
};

/// Where an output pixel's window begins: its first row and column, which may lie in the padding. A tile's lie in shared memory, where 8 bytes
/// each still let two blocks share the 100 KB of the smaller chips: 2 * (48 KB of stages + 1 KB + 1 KB that the chip keeps), to the byte.
struct alignas(8) WindowPlace {
  int y, x;
};

__device__ __forceinline__ WindowPlace windowPlace(const ConvImage& image, int row) {
  // A row beyond the last reads nothing but zeros.
  if (row >= image.rows) return {-(1 << 30), 0};
  image.outArea.divide(row);  // the row in its sample
  const int y = image.outWidth.divide(row);
  return {y * image.strideHeight - image.padTop, row * image.strideWidth - image.padLeft};
}

/// The first element of an output pixel's sample.
__device__ __forceinline__ int64_t sampleOf(const ConvImage& image, int row) { return image.outArea.quotient(row) * image.sampleElements; }

/// An element of the image, or none: of the padding, or behind the last summand. Its number is a number even then, so that nothing branches.
struct ImageElement {
  int64_t number;
  bool inside;
};

/// The first of the pixel at (y, x) of the upsampled image.
__device__ __forceinline__ ImageElement pixelElement(const ConvImage& image, const WindowPlace& place, int64_t sample, int kernelRow, int kernelColumn) {
  const int y = place.y + kernelRow, x = place.x + kernelColumn;
  const bool inside = (static_cast<unsigned>(y) < static_cast<unsigned>(image.height << image.upsampleShift)) &
                      (static_cast<unsigned>(x) < static_cast<unsigned>(image.width << image.upsampleShift));
  return {sample + (static_cast<int64_t>(y >> image.upsampleShift) * image.width + (x >> image.upsampleShift)) * image.channels, inside};
}

/// The number at summand k of a window.
template <class T>
__device__ __forceinline__ T summandAt(const ConvImage& image, const WindowPlace& place, int64_t sample, int k) {
  if (k >= image.summands) return fromFloat<T>(0.0f);
  int channel = k;
  int column = image.channel.divide(channel);
  const int row = image.kernelColumn.divide(column);
  const ImageElement pixel = pixelElement(image, place, sample, row, column);
  return pixel.inside ? static_cast<const T*>(image.x)[pixel.number + channel] : fromFloat<T>(0.0f);
}

/// A thread's place among the summands.
class KernelCursor {
 public:
  __device__ __forceinline__ KernelCursor(const ConvImage& image, int k) : k_(k), channel_(k) {
    column_ = image.channel.divide(channel_);
    row_ = image.kernelColumn.divide(column_);
  }
  __device__ __forceinline__ void advance(const ConvImage& image, int summands) {
    k_ += summands;
    channel_ += summands;
    column_ += image.channel.divide(channel_);
    row_ += image.kernelColumn.divide(column_);
  }
  __device__ __forceinline__ int k() const { return k_; }
  /// The element at the cursor.
  __device__ __forceinline__ ImageElement element(const ConvImage& image, const WindowPlace& place, int64_t sample) const {
    const ImageElement pixel = pixelElement(image, place, sample, row_, column_);
    return {pixel.number + channel_, k_ < image.summands && pixel.inside};
  }

 private:
  int k_, channel_, column_, row_;
};

/// Fills stages of multiplyMmaTile; `places`, of the tile's kOperandRows pixels, in shared memory.
template <class T, bool kAligned>
class ImageCopy {
  static constexpr int kUnit = 16 / sizeof(T);
  static constexpr int kUnits = 4, kApart = kMmaThreads / 4;

 public:
  __device__ __forceinline__ ImageCopy(const ConvImage& image, const WindowPlace* places, int firstRow)
      : image_(image), places_(places + threadIdx.x / 4), cursor_(image, threadIdx.x % 4 * kUnit) {
    const int unit = threadIdx.x % 4, line = threadIdx.x / 4;
#pragma unroll
    for (int i = 0; i < kUnits; ++i) samples_[i] = sampleOf(image, firstRow + line + i * kApart);
    shared_ = line * 64 + (unit ^ (line / 2 % 4)) * 16;
  }

  __device__ __forceinline__ void next(unsigned char* stage) {
    const T* const x = static_cast<const T*>(image_.x);
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      const WindowPlace place = places_[i * kApart];
      unsigned char* const to = stage + shared_ + i * kApart * 64;
      if constexpr (kAligned) {
        const ImageElement element = cursor_.element(image_, place, samples_[i]);
        cpAsync<16>(to, x + (element.inside ? element.number : 0), element.inside ? 16 : 0);
      } else {
#pragma unroll 1
        for (int j = 0; j < kUnit; ++j) reinterpret_cast<T*>(to)[j] = summandAt<T>(image_, place, samples_[i], cursor_.k() + j);
      }
    }
    cursor_.advance(image_, kStageDepth<T>);
  }

 private:
  const ConvImage& image_;
  const WindowPlace* places_;
  int64_t samples_[kUnits];
  KernelCursor cursor_;
  int shared_;
};

/// Brings steps of multiplyFfmaTile: two threads a pixel, four summands each.
class ImagePanel {
 public:
  __device__ __forceinline__ ImagePanel(const ConvImage& image, bool aligned, int firstRow)
      : image_(image),
        place_(windowPlace(image, firstRow + threadIdx.x / 2)),
        sample_(sampleOf(image, firstRow + threadIdx.x / 2)),
        cursor_(image, threadIdx.x % 2 * 4),
        aligned_(aligned) {}

  __device__ __forceinline__ void fetch() {
    if (aligned_) {
      const ImageElement element = cursor_.element(image_, place_, sample_);
      if (element.inside) load(held_, static_cast<const float*>(image_.x) + element.number);
      else
#pragma unroll
        for (float& number : held_) number = 0.0f;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) held_[i] = summandAt<float>(image_, place_, sample_, cursor_.k() + i);
    }
    cursor_.advance(image_, kFfmaDepth);
  }

  __device__ __forceinline__ void put(float* buffer) const {
#pragma unroll
    for (int i = 0; i < 4; ++i) buffer[(threadIdx.x % 2 * 4 + i) * kFfmaPitch + threadIdx.x / 2] = held_[i];
  }

 private:
  const ConvImage& image_;
  WindowPlace place_;
  int64_t sample_;
  KernelCursor cursor_;
  bool aligned_;
  float held_[4];
};

}  // namespace repa::cuda
