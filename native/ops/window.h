// The window that a convolution or a pooling moves over an image: its stride, its padding, and the size of what comes out.
#pragma once

#include <vector>

#include "ops/require.h"

namespace repa::ops {

struct Window {
  int64_t kernelHeight, kernelWidth, strideHeight, strideWidth;
  int64_t padTop, padBottom, padLeft, padRight;
  int64_t outHeight, outWidth;
};

/// kernel and stride: rows, columns; padding: above, below, left, right. Throws where they are no counts or the window does not fit.
inline Window windowOf(const char* op, int64_t height, int64_t width, const std::vector<double>& kernel, const std::vector<double>& stride,
                       const std::vector<double>& padding) {
  const auto counts = [op](const char* name, const std::vector<double>& values, size_t count, double least) {
    require(values.size() == count, op, std::string(name) + " has " + std::to_string(values.size()) + " numbers; expected " + std::to_string(count) + ".");
    for (double value : values)
      require(value >= least && value < 1e6 && value == static_cast<double>(static_cast<int64_t>(value)), op,
              std::string(name) + " holds " + std::to_string(value) + "; expected whole numbers from " + std::to_string(static_cast<int64_t>(least)) + ".");
  };
  counts("kernel", kernel, 2, 1);
  counts("stride", stride, 2, 1);
  counts("padding", padding, 4, 0);
  const auto at = [](const std::vector<double>& values, size_t index) { return static_cast<int64_t>(values[index]); };
  Window window{.kernelHeight = at(kernel, 0), .kernelWidth = at(kernel, 1), .strideHeight = at(stride, 0), .strideWidth = at(stride, 1),
                .padTop = at(padding, 0), .padBottom = at(padding, 1), .padLeft = at(padding, 2), .padRight = at(padding, 3), .outHeight = 0, .outWidth = 0};
  const int64_t paddedHeight = height + window.padTop + window.padBottom, paddedWidth = width + window.padLeft + window.padRight;
  require(height > 0 && width > 0 && paddedHeight >= window.kernelHeight && paddedWidth >= window.kernelWidth, op,
          "a window of " + std::to_string(window.kernelHeight) + " x " + std::to_string(window.kernelWidth) + " does not fit an image of " +
              std::to_string(height) + " x " + std::to_string(width) + " with its padding.");
  window.outHeight = (paddedHeight - window.kernelHeight) / window.strideHeight + 1;
  window.outWidth = (paddedWidth - window.kernelWidth) / window.strideWidth + 1;
  return window;
}

}  // namespace repa::ops
