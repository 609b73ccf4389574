// Operands of wgmma laid out in shared memory as the manual's figures show (PTX ISA 9.7.15.5.1.2), without the shim's address arithmetic.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "cuda/ptx.h"

namespace repa::cuda::test {

struct OperandLayout {
  Major major;
  Swizzle swizzle;
  unsigned leading, stride;  // bytes, for the descriptor
  int extent;                // along M or N
  int bytes;                 // the image's size

  /// Bytes of a line.
  unsigned width() const {
    switch (swizzle) {
      case Swizzle::bytes128: return 128;
      case Swizzle::bytes64: return 64;
      case Swizzle::bytes32: return 32;
      default: return 16;
    }
  }

  /// Gaps between the parts show that both offsets are used.
  static OperandLayout make(Major major, Swizzle swizzle, int extent) {
    OperandLayout layout = {major, swizzle, 0, 0, extent, 0};
    const unsigned group = 8 * layout.width();  // eight lines
    const unsigned gap = 1024;
    const int groups = extent / 8;
    if (swizzle == Swizzle::none) {
      // 8 x 8 matrices: two along K, extent / 8 along M or N.
      layout.stride = 2 * group;
      layout.leading = groups * layout.stride + gap;
      layout.bytes = static_cast<int>(layout.leading + groups * layout.stride);
    } else if (major == Major::k) {
      layout.stride = group < gap ? gap : 2 * gap;
      layout.bytes = static_cast<int>(groups * layout.stride);
    } else {
      const int panels = (extent * 2 + layout.width() - 1) / static_cast<int>(layout.width());
      layout.stride = group < gap ? gap : 2 * gap;
      layout.leading = 2 * layout.stride;
      layout.bytes = static_cast<int>(panels * layout.leading);
    }
    return layout;
  }

  /// Where element (row or column `i`, `k`) stands.
  size_t position(int i, int k) const {
    if (swizzle == Swizzle::none) {
      const int inMatrix = major == Major::k ? i % 8 * 16 + k % 8 * 2 : k % 8 * 16 + i % 8 * 2;
      return k / 8 * leading + i / 8 * stride + inMatrix;
    }
    const int perLine = static_cast<int>(width()) / 2;
    const int line = major == Major::k ? i : k;
    const int along = major == Major::k ? k : i;
    const unsigned piece = along % perLine * 2 / 16, byte = along % perLine * 2 % 16;
    // A group of eight lines is a square of 16-byte pieces; the piece is exchanged by the number of its line of 128 bytes.
    const unsigned lineOf128 = line % 8 * width() / 128;
    return (major == Major::k ? 0 : along / perLine * leading) + line / 8 * stride + line % 8 * width() +
           (piece ^ (lineOf128 % (width() / 16))) * 16 + byte;
  }

  template <class T>
  std::vector<unsigned char> image(const std::vector<float>& elements) const {
    std::vector<unsigned char> result(bytes, 0xff);
    for (int i = 0; i < extent; ++i)
      for (int k = 0; k < 16; ++k) {
        const T value = fromFloat<T>(elements[i * 16 + k]);
        std::memcpy(&result[position(i, k)], &value, sizeof value);
      }
    return result;
  }
};

/// Where register i of a thread of the warpgroup stands.
inline int accumulatorRow(int thread, int i) { return thread / 32 * 16 + thread % 32 / 4 + 8 * (i / 2 % 2); }
inline int accumulatorColumn(int thread, int i) { return i / 4 * 8 + thread % 4 * 2 + i % 2; }

}  // namespace repa::cuda::test
