// Runs kernels that are to fail with a sentence.
#pragma once

#include <string>

#include "core/error.h"
#include "cuda/launch.h"
#include "simt/simt.h"
#include "simt/test/check.h"
#include "simt/test/device_array.h"
#include "simt/test/numbers.h"

namespace repa::cuda::test {

/// The sentence that a launch fails with, after making the device usable again.
template <class Run>
std::string failureOf(Run run) {
  std::string thrown;
  try {
    run();
    cudaDeviceSynchronize();
  } catch (const Error& error) {
    thrown = error.what();
  }
  const std::string sentence = simt::lastFailure();
  expect(sentence.empty() || cudaDeviceSynchronize() == cudaErrorLaunchFailure || cudaDeviceSynchronize() == cudaErrorIllegalAddress,
         "a failed device takes more work");
  simt::reset();
  return sentence.empty() ? thrown : sentence;
}

template <class Run>
void expectFailure(const std::string& part, Run run) {
  underSeeds([&](const std::string& seed) {
    const std::string sentence = failureOf(run);
    if (sentence.find(part) == std::string::npos) expect(false, seed + ": \"" + sentence + "\" does not contain \"" + part + "\"");
  });
}

inline void launchOne(void (*kernel)(float*), unsigned threads, size_t shared = 0, unsigned cluster = 1) {
  DeviceArray<float> out(4096);
  launch(nullptr, kernel, LaunchShape{.grid = cluster, .block = threads, .sharedBytes = shared, .cluster = cluster}, out.data());
  check(cudaStreamSynchronize(nullptr), "run a planted bug");
}

}  // namespace repa::cuda::test
