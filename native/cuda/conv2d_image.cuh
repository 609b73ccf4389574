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
  int kernelWidth;
  int strideHeight, strideWidth, padTop, padLeft;
  int rows, summands;  // of the product
  Divisor outArea, outWidth, channel, kernelColumn;
};

/// Where an output pixel's window begins: its first row and column, which may lie in the padding, and its sample's first element.
struct alignas(16) WindowPlace {
  int y, x;
  int64_t sample;
};

__device__ __forceinline__ WindowPlace windowPlace(const ConvImage& image, int row) {
  // A row beyond the last reads nothing but zeros.
  if (row >= image.rows) return {-(1 << 30), 0, 0};
  const int64_t sample = image.outArea.divide(row) * image.sampleElements;
  const int y = image.outWidth.divide(row);
  return {y * image.strideHeight - image.padTop, row * image.strideWidth - image.padLeft, sample};
}

/// The pixel at (y, x) of the upsampled image; -1 in the padding.
__device__ __forceinline__ int64_t pixelElement(const ConvImage& image, const WindowPlace& place, int kernelRow, int kernelColumn) {
  const int y = place.y + kernelRow, x = place.x + kernelColumn;
  const bool inside = static_cast<unsigned>(y) < static_cast<unsigned>(image.height << image.upsampleShift) &&
                      static_cast<unsigned>(x) < static_cast<unsigned>(image.width << image.upsampleShift);
  if (!inside) return -1;
  return place.sample + (static_cast<int64_t>(y >> image.upsampleShift) * image.width + (x >> image.upsampleShift)) * image.channels;
}

/// The number at summand k of a window.
template <class T>
__device__ __forceinline__ T summandAt(const ConvImage& image, const WindowPlace& place, int k) {
  if (k >= image.summands) return fromFloat<T>(0.0f);
  int channel = k;
  int column = image.channel.divide(channel);
  const int row = image.kernelColumn.divide(column);
  const int64_t pixel = pixelElement(image, place, row, column);
  return pixel < 0 ? fromFloat<T>(0.0f) : static_cast<const T*>(image.x)[pixel + channel];
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
    while (channel_ >= image.channels) {
      channel_ -= image.channels;
      if (++column_ == image.kernelWidth) column_ = 0, ++row_;
    }
  }
  __device__ __forceinline__ int k() const { return k_; }
  /// The element at the cursor, or -1 in the padding and behind the last summand.
  __device__ __forceinline__ int64_t element(const ConvImage& image, const WindowPlace& place) const {
    if (k_ >= image.summands) return -1;
    const int64_t pixel = pixelElement(image, place, row_, column_);
    return pixel < 0 ? -1 : pixel + channel_;
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
  __device__ __forceinline__ ImageCopy(const ConvImage& image, const WindowPlace* places)
      : image_(image), places_(places + threadIdx.x / 4), cursor_(image, threadIdx.x % 4 * kUnit) {
    const int unit = threadIdx.x % 4, line = threadIdx.x / 4;
    shared_ = line * 64 + (unit ^ (line / 2 % 4)) * 16;
  }

  __device__ __forceinline__ void next(unsigned char* stage) {
    const T* const x = static_cast<const T*>(image_.x);
#pragma unroll
    for (int i = 0; i < kUnits; ++i) {
      const WindowPlace place = places_[i * kApart];
      unsigned char* const to = stage + shared_ + i * kApart * 64;
      if constexpr (kAligned) {
        const int64_t element = cursor_.element(image_, place);
        cpAsync<16>(to, x + (element < 0 ? 0 : element), element < 0 ? 0 : 16);
      } else {
#pragma unroll 1
        for (int j = 0; j < kUnit; ++j) reinterpret_cast<T*>(to)[j] = summandAt<T>(image_, place, cursor_.k() + j);
      }
    }
    cursor_.advance(image_, kStageDepth<T>);
  }

 private:
  const ConvImage& image_;
  const WindowPlace* places_;
  KernelCursor cursor_;
  int shared_;
};

/// Brings steps of multiplyFfmaTile: two threads a pixel, four summands each.
class ImagePanel {
 public:
  __device__ __forceinline__ ImagePanel(const ConvImage& image, bool aligned, int firstRow)
      : image_(image), place_(windowPlace(image, firstRow + threadIdx.x / 2)), cursor_(image, threadIdx.x % 2 * 4), aligned_(aligned) {}

  __device__ __forceinline__ void fetch() {
    if (aligned_) {
      const int64_t element = cursor_.element(image_, place_);
      if (element >= 0) load(held_, static_cast<const float*>(image_.x) + element);
      else
#pragma unroll
        for (float& number : held_) number = 0.0f;
    } else {
#pragma unroll
      for (int i = 0; i < 4; ++i) held_[i] = summandAt<float>(image_, place_, cursor_.k() + i);
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
  KernelCursor cursor_;
  bool aligned_;
  float held_[4];
};

}  // namespace repa::cuda
