// Random inputs and what to hold results against.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cuda/float16.h"
#include "simt/simt.h"

namespace repa::cuda::test {

inline std::vector<float> randomFloats(size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(size);
  for (float& value : values) value = normal(generator);
  return values;
}

/// Small integers, whose products and sums are exact in any order.
inline std::vector<float> randomIntegers(size_t size, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<float> values(size);
  for (float& value : values) value = static_cast<float>(static_cast<int>(generator() % 17) - 8);
  return values;
}

template <class T>
std::vector<T> randomBits(size_t size, unsigned seed) {
  std::mt19937_64 generator(seed);
  std::vector<T> values(size);
  for (T& value : values) value = static_cast<T>(generator());
  return values;
}

template <class T>
std::vector<T> rounded(const std::vector<float>& values) {
  std::vector<T> result(values.size());
  for (size_t i = 0; i < values.size(); ++i) result[i] = fromFloat<T>(values[i]);
  return result;
}

inline double relativeError(const std::vector<float>& got, const std::vector<double>& want) {
  double error = 0, norm = 0;
  for (size_t i = 0; i < want.size(); ++i) {
    error += (got[i] - want[i]) * (got[i] - want[i]);
    norm += want[i] * want[i];
  }
  return std::sqrt(error / norm);  // NaN where anything is NaN
}

/// Runs `body` under several schedules: as many as REPA_SIMT_TEST_SEEDS says, or 8; 2 where each takes long.
template <class Body>
void underSeeds(Body body) {
  const char* given = std::getenv("REPA_SIMT_TEST_SEEDS");
#if defined(__SANITIZE_THREAD__)
  const uint64_t seeds = given ? std::strtoull(given, nullptr, 10) : 2;
#else
  const uint64_t seeds = given ? std::strtoull(given, nullptr, 10) : 8;
#endif
  for (uint64_t seed = 1; seed <= seeds; ++seed) {
    simt::setSeed(seed);
    body("seed " + std::to_string(seed));
  }
}

}  // namespace repa::cuda::test
