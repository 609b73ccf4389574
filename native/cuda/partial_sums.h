// The second stage of the sums over rows, as in cpu/partial_sums.h: parts of the rows, each already summed into one row of partial
// sums, are added up. In a fixed order: the first stage cuts by the sizes alone.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

namespace repa::cuda {

/// out[group, c] = sum over p of partials[group, p, c], plus what out holds with `accumulate`. partials [groups, parts, width];
/// a group's sums are at out + group * outStride. No parts: zeros.
struct PartialSums {
  float* partials;  // scratch: a long list is first summed in place
  int64_t groups, parts;
  float* out;
  int64_t outStride;
  bool accumulate;
};

constexpr int kMostPartialSums = 4;

/// Adds up `count` sets of partial sums of one width, in one launch where no two have the same `out`: two that accumulate may (one
/// parameter used twice), and are then added one after the other.
void addPartialSums(cudaStream_t stream, int64_t width, const PartialSums* sums, int count);

}  // namespace repa::cuda
