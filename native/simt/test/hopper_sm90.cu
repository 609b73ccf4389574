// Compiled for sm_90a alone where nvcc compiles it, as its name says (CMakeLists.txt); here it is C++.
#include "cuda/kernel.h"
#include "simt/test/hopper.h"
#include "simt/test/refusal.h"

namespace repa::cuda::test {

namespace {

__global__ void ofHopper() {}

}  // namespace

std::string hopperRefusal() { return refusal(ofHopper, {.grid = 1, .block = 1}); }

}  // namespace repa::cuda::test
