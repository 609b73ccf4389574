// Tests of the shim itself: right kernels give right results, wrong ones are found out.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <random>

#include "cuda/launch.h"
#include "simt/simt.h"
#include "simt/test/check.h"
#include "simt/test/device_array.h"
#include "simt/test/gemm_mma.h"
#include "simt/test/layer_norm.h"

namespace repa::simt::test {

using cuda::f16;
using cuda::fromFloat;
using cuda::launch;
using cuda::LaunchShape;

std::vector<float> randomFloats(size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

template <class T>
std::vector<T> rounded(const std::vector<float>& values) {
  std::vector<T> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) result[i] = fromFloat<T>(values[i]);
  return result;
}

double relativeError(const std::vector<float>& got, const std::vector<double>& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(error / norm);  // NaN where anything is NaN
}

template <auto kernel>
double layerNormError() {
  const int rows = 6, width = 200;
  const auto x = randomFloats(rows * width, 1), scale = randomFloats(width, 2), shift = randomFloats(width, 3);
  DeviceArray<float> deviceX(x), deviceScale(scale), deviceShift(shift);
  DeviceArray<bf16> deviceY(rows * width);
  launch(nullptr, kernel, LaunchShape{.grid = rows, .block = 128}, deviceX.data(), deviceScale.data(), deviceShift.data(), deviceY.data(), width);
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

template <class T, auto kernel>
double gemmError(int m = 128, int n = 64, int k = 64) {
  const auto a = rounded<T>(randomFloats(m * k, 4)), b = rounded<T>(randomFloats(n * k, 5));
  DeviceArray<T> deviceA(a), deviceB(b);
  DeviceArray<float> deviceC(m * n);
  launch(nullptr, kernel, LaunchShape{.grid = dim3(n / 64, m / 64), .block = 128}, deviceA.data(), deviceB.data(), deviceC.data(), n, k);
  std::vector<double> want(m * n);
  for (int i = 0; i < m; ++i)
    for (int j = 0; j < n; ++j)
      for (int l = 0; l < k; ++l) want[i * n + j] += static_cast<double>(toFloat(a[i * k + l])) * toFloat(b[j * k + l]);
  return relativeError(deviceC.read(), want);
}

/// Runs `body` under several schedules.
template <class Body>
void underSeeds(Body body) {
  for (uint64_t seed = 1; seed <= 8; ++seed) {
    setSeed(seed);
    body("seed " + std::to_string(seed));
  }
}

TEST(layer_norm_is_right) {
  underSeeds([](const std::string& seed) {
    const double error = layerNormError<layerNorm<>>();
    expect(error < 4e-3, seed + ": error " + std::to_string(error));
  });
}

TEST(gemm_by_mma_is_right) {
  underSeeds([](const std::string& seed) {
    expect(gemmError<bf16, gemmMma<bf16>>() < 1e-6, seed + ": bf16");
    expect(gemmError<f16, gemmMma<f16>>() < 1e-6, seed + ": f16");
  });
}

TEST(missing_barrier_gives_a_wrong_result) {
  underSeeds([](const std::string& seed) {
    const double error = layerNormError<layerNorm<true>>();
    expect(!(error < 4e-3), seed + ": the missing __syncthreads went unseen");
  });
}

TEST(buffer_reused_too_early_gives_a_wrong_result) {
  underSeeds([](const std::string& seed) {
    const double error = gemmError<bf16, gemmMma<bf16, true>>();
    expect(!(error < 1e-6), seed + ": the missing barrier before the refill went unseen");
  });
}

TEST(wait_group_off_by_one_gives_a_wrong_result) {
  underSeeds([](const std::string& seed) {
    const double error = gemmError<bf16, gemmMma<bf16, false, 1>>();
    expect(!(error < 1e-6), seed + ": the wait_group off by one went unseen");
  });
}

TEST(wrong_fragment_gives_a_wrong_result) {
  underSeeds([](const std::string& seed) {
    const double error = gemmError<bf16, gemmMma<bf16, false, 0, 0>>();
    expect(!(error < 1e-6), seed + ": the wrong fragment went unseen");
  });
}

__global__ void halfABarrier() {
  if (threadIdx.x < 32) __syncthreads();
  if (threadIdx.x >= 32) cuda::namedBarrierSync(1, 96);
}

TEST(deadlock_is_reported_and_the_device_recovers) {
  launch(nullptr, halfABarrier, LaunchShape{.grid = 1, .block = 64});
  expect(cudaStreamSynchronize(nullptr) == cudaErrorLaunchFailure, "the launch did not fail");
  expectContains(lastFailure(), "kernel halfABarrier: deadlock");
  expectContains(lastFailure(), "32 of 64 threads have arrived");
  expectContains(cudaGetErrorString(cudaErrorLaunchFailure), "deadlock");
  reset();
  expect(layerNormError<layerNorm<>>() < 4e-3, "the device is unusable after reset()");
}

}  // namespace repa::simt::test

/// With an argument: only the tests whose names contain it.
int main(int argc, char** argv) {
  using namespace repa::simt::test;
  int passed = 0, failed = 0;
  for (const Test& test : tests()) {
    if (argc > 1 && std::string(test.name).find(argv[1]) == std::string::npos) continue;
    complaints().clear();
    repa::simt::setSeed(1);
    try {
      test.run();
    } catch (const std::exception& error) {
      complaints().push_back(std::string("threw: ") + error.what());
    }
    if (!repa::simt::lastFailure().empty()) {
      complaints().push_back("left the device failed: " + repa::simt::lastFailure());
      repa::simt::reset();
    }
    complaints().empty() ? ++passed : ++failed;
    if (!complaints().empty()) std::printf("FAILED %s\n", test.name);
    for (const std::string& complaint : complaints()) std::printf("  %s\n", complaint.c_str());
  }
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}
