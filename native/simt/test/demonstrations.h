// Runs the demonstration kernels and says how far they are from plain C++.
#pragma once

#include "cuda/launch.h"
#include "simt/test/device_array.h"
#include "simt/test/gemm_mma.h"
#include "simt/test/gemm_wgmma.h"
#include "simt/test/layer_norm.h"
#include "simt/test/numbers.h"
#include "simt/test/tensor_map.h"

namespace repa::cuda::test {

template <auto kernel>
double layerNormError(int rows = 6, int width = 200) {
  const auto x = randomFloats(rows * width, 1), scale = randomFloats(width, 2), shift = randomFloats(width, 3);
  DeviceArray<float> deviceX(x), deviceScale(scale), deviceShift(shift);
  DeviceArray<bf16> deviceY(rows * width);
  launch(nullptr, kernel, LaunchShape{.grid = static_cast<unsigned>(rows), .block = 128}, deviceX.data(), deviceScale.data(),
               deviceShift.data(), deviceY.data(), width);
  std::vector<float> got;
  for (const bf16 y : deviceY.read()) got.push_back(toFloat(y));
  std::vector<double> want;
  for (int row = 0; row < rows; ++row) {
    double mean = 0, variance = 0;
    for (int i = 0; i < width; ++i) mean += x[row * width + i] / static_cast<double>(width);
    for (int i = 0; i < width; ++i) variance += std::pow(x[row * width + i] - mean, 2) / width;
    for (int i = 0; i < width; ++i) want.push_back((x[row * width + i] - mean) / std::sqrt(variance + 1e-6) * (1 + scale[i]) + shift[i]);
  }
  return relativeError(got, want);
}
constexpr double bf16Tolerance = 4e-3;  // half an ulp of bf16 is 2^-9

/// run(a, b, c) multiplies.
template <class T, class Run>
double productError(int m, int n, int k, Run run) {
  const auto a = rounded<T>(randomFloats(m * k, 4)), b = rounded<T>(randomFloats(n * k, 5));
  DeviceArray<T> deviceA(a), deviceB(b);
  DeviceArray<float> deviceC(m * n);
  run(deviceA.data(), deviceB.data(), deviceC.data());
  std::vector<double> want(m * n);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j)
      for (int l = 0; l < k; ++l) want[i * n + j] += static_cast<double>(toFloat(a[i * k + l])) * toFloat(b[j * k + l]);
  return relativeError(deviceC.read(), want);
}
constexpr double productTolerance = 1e-6;

template <class T, auto kernel>
double gemmMmaError(int m = 128, int n = 64, int k = 64) {
  return productError<T>(m, n, k, [&](T* a, T* b, float* c) {
    launch(nullptr, kernel, LaunchShape{.grid = dim3(n / 64, m / 64), .block = 128}, a, b, c, n, k);
  });
}

template <class T, auto kernel>
double gemmWgmmaError(int m = 64, int n = 128, int k = 256) {
  return productError<T>(m, n, k, [&](T* a, T* b, float* c) {
    const auto map = [k](T* base, int rows) {
      return tensorMap(
          base,
          {.extents = {static_cast<uint64_t>(k), static_cast<uint64_t>(rows)}, .box = {64, 64}, .swizzle = CU_TENSOR_MAP_SWIZZLE_128B});
    };
    launch(nullptr, kernel, LaunchShape{.grid = dim3(n / 64, m / 64), .block = 160, .sharedBytes = gemmWgmmaShared}, map(a, m), map(b, n),
           c, n, k);
  });
}

}  // namespace repa::cuda::test
