// Accesses whose cost the CUDA manuals tell, and what is counted of them.
#include <cstdio>
#include <string>

#include "cuda/launch.h"
#include "cuda/vector.h"
#include "simt/simt.h"
#include "simt/test/device_array.h"
#include "simt/traffic/traffic.h"

namespace repa::cuda::test {

/// Lane i stores and loads word `stride` i.
__global__ void strided(float* out, int stride) {
  __shared__ float tile[32 * 33];
  volatile float* const at = tile + threadIdx.x * stride;
  *at = 1;
  out[threadIdx.x] = *at;
}

__global__ void sameWord(float* out) {
  __shared__ float tile[32];
  tile[threadIdx.x] = 1;
  __syncthreads();
  out[threadIdx.x] = tile[7];
}

/// Lane i stores and loads N elements, `apart` elements from its neighbour's.
template <int N>
__global__ void vectors(float* out, int apart) {
  REPA_DYNAMIC_SHARED(shared);
  float values[N];
  load(values, out + threadIdx.x * N);
  float* const at = reinterpret_cast<float*>(shared) + threadIdx.x * apart;
  storeStruct(at, values);
  __syncthreads();
  load(values, at);
  store(out + threadIdx.x * N, values);
}

/// Columns of eight rows of 16 bytes, `pitch` apart.
__global__ void matrix(uint32_t* out, int pitch) {
  REPA_DYNAMIC_SHARED(shared);
  uint32_t r[1];
  ldmatrix(r, shared + threadIdx.x % 8 * pitch);
  out[threadIdx.x] = r[0];
}

__global__ void copied(const float* in, float* out, int stride) {
  REPA_DYNAMIC_SHARED(shared);
  cpAsync<16>(shared + 16 * threadIdx.x, in + threadIdx.x * stride);
  cpAsyncCommit();
  cpAsyncWait<0>();
  out[threadIdx.x] = reinterpret_cast<float*>(shared)[threadIdx.x];
}

__global__ void gathered(const float* in, float* out, int stride) { out[threadIdx.x] = in[threadIdx.x * stride]; }

/// Only the first lanes of a warp.
__global__ void ofSome(float* out, int lanes) {
  if (static_cast<int>(threadIdx.x) < lanes) out[threadIdx.x] = 1;
}

struct Expected {
  simt::Space space;
  bool store;
  double requests, units, least;
};

struct Case {
  const char* name;
  void (*run)(float* device);
  Expected expected;
};

constexpr auto shared = simt::Space::shared, global = simt::Space::global;

template <class... Parameters, class... Arguments>
void launchWarp(void (*kernel)(Parameters...), Arguments... arguments) {
  launch(nullptr, kernel, LaunchShape{.grid = 1, .block = 32, .sharedBytes = 16384}, arguments...);
}

const Case cases[] = {
    {"words side by side", [](float* x) { launchWarp(strided, x, 1); }, {shared, false, 1, 1, 1}},
    {"every second word", [](float* x) { launchWarp(strided, x, 2); }, {shared, false, 1, 2, 1}},
    {"every 32nd word", [](float* x) { launchWarp(strided, x, 32); }, {shared, true, 1, 32, 1}},
    {"every 33rd word", [](float* x) { launchWarp(strided, x, 33); }, {shared, true, 1, 1, 1}},
    {"the same word", [](float* x) { launchWarp(sameWord, x); }, {shared, false, 1, 1, 1}},
    {"pairs side by side", [](float* x) { launchWarp(vectors<2>, x, 2); }, {shared, false, 1, 2, 2}},
    {"pairs 16 bytes apart", [](float* x) { launchWarp(vectors<2>, x, 4); }, {shared, false, 1, 4, 2}},
    {"fours side by side", [](float* x) { launchWarp(vectors<4>, x, 4); }, {shared, true, 1, 4, 4}},
    {"fours 32 bytes apart", [](float* x) { launchWarp(vectors<4>, x, 8); }, {shared, true, 1, 8, 4}},
    {"fours 80 bytes apart", [](float* x) { launchWarp(vectors<4>, x, 20); }, {shared, true, 1, 4, 4}},
    {"fours to global memory", [](float* x) { launchWarp(vectors<4>, x, 4); }, {global, true, 1, 16, 16}},
    {"a matrix of rows side by side", [](float* x) { launchWarp(matrix, reinterpret_cast<uint32_t*>(x), 16); }, {shared, false, 1, 1, 1}},
    {"a matrix of rows 64 bytes apart", [](float* x) { launchWarp(matrix, reinterpret_cast<uint32_t*>(x), 64); }, {shared, false, 1, 4, 1}},
    {"a matrix of rows 128 bytes apart", [](float* x) { launchWarp(matrix, reinterpret_cast<uint32_t*>(x), 128); }, {shared, false, 1, 8, 1}},
    {"copies side by side", [](float* x) { launchWarp(copied, static_cast<const float*>(x), x + 1024, 4); }, {global, false, 1, 16, 16}},
    {"copies into shared memory", [](float* x) { launchWarp(copied, static_cast<const float*>(x), x + 1024, 4); }, {shared, true, 1, 4, 4}},
    {"copies a row apart", [](float* x) { launchWarp(copied, static_cast<const float*>(x), x + 1024, 16); }, {global, false, 1, 32, 16}},
    {"a column", [](float* x) { launchWarp(gathered, static_cast<const float*>(x), x + 1024, 32); }, {global, false, 1, 32, 4}},
    {"a row", [](float* x) { launchWarp(gathered, static_cast<const float*>(x), x + 1024, 1); }, {global, false, 1, 4, 4}},
    {"a row from its second word on", [](float* x) { launchWarp(gathered, static_cast<const float*>(x + 1), x + 1024, 1); }, {global, false, 1, 5, 4}},
    {"nine lanes", [](float* x) { launchWarp(ofSome, x, 9); }, {global, true, 1, 2, 2}},
    {"no lane", [](float* x) { launchWarp(ofSome, x, 0); }, {global, true, 0, 0, 0}},
    {"a hundred blocks, of which a few are watched",
     [](float* x) { launch(nullptr, ofSome, LaunchShape{.grid = 100, .block = 64}, x, 64); },
     {global, true, 200, 800, 800}},
};

/// What is wrong with a case's counts; "" where they are as expected.
std::string complaint(const Case& each) {
  DeviceArray<float> memory(2048);
  simt::Traffic traffic;
  simt::observer = &traffic;
  each.run(memory.data());
  cudaDeviceSynchronize();
  simt::observer = nullptr;
  simt::Requests sum;
  for (const auto& [kernel, instructions] : traffic.counted())
    for (const auto& [instruction, requests] : instructions) {
      if (instruction.space != each.expected.space || instruction.store != each.expected.store) continue;
      sum.count += requests.count;
      sum.units += requests.units;
      sum.leastUnits += requests.leastUnits;
    }
  const Expected& e = each.expected;
  if (sum.count == e.requests && sum.units == e.units && sum.leastUnits == e.least) return simt::lastFailure();
  char text[160];
  std::snprintf(text, sizeof text, "%g requests in %g units, at least %g; expected %g in %g, at least %g", sum.count, sum.units,
                sum.leastUnits, e.requests, e.units, e.least);
  return text;
}

}  // namespace repa::cuda::test

int main() {
  using namespace repa::cuda::test;
  int failed = 0;
  for (const Case& each : cases) {
    const std::string said = complaint(each);
    if (said.empty()) continue;
    ++failed;
    std::printf("FAILED %s: %s\n", each.name, said.c_str());
  }
  std::printf("%zu passed, %d failed\n", std::size(cases) - failed, failed);
  return failed ? 1 : 0;
}
