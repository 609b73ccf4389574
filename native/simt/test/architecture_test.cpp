// The chips that the shim's device can be, and what each refuses to launch.
#include <cstdlib>
#include <string>

#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "simt/test/check.h"
#include "simt/test/device_array.h"
#include "simt/test/hopper.h"
#include "simt/test/refusal.h"

namespace repa::cuda::test {

namespace {

/// Lets the device be of an architecture within a scope.
class OfArchitecture {
 public:
  explicit OfArchitecture(const std::string& name) { setenv("REPA_SIMT_ARCH", name.c_str(), 1); }
  ~OfArchitecture() { unsetenv("REPA_SIMT_ARCH"); }
};

struct Chip {
  int name, major, minor;
  int blockKiB, multiprocessorKiB;  // of shared memory
  int threads, blocks;              // of a multiprocessor
};
constexpr Chip chips[] = {
    {75, 7, 5, 64, 64, 1024, 16},      {80, 8, 0, 163, 164, 2048, 32},  {86, 8, 6, 99, 100, 1536, 16},
    {87, 8, 7, 163, 164, 1536, 16},    {89, 8, 9, 99, 100, 1536, 24},   {90, 9, 0, 227, 228, 2048, 32},
    {100, 10, 0, 227, 228, 2048, 32},  {103, 10, 3, 227, 228, 2048, 32}, {110, 11, 0, 227, 228, 1536, 24},
    {120, 12, 0, 99, 100, 1536, 24},   {121, 12, 1, 99, 100, 1536, 24},
};
constexpr int KiB = 1024;

__global__ void doNothing() {}

int attribute(cudaDeviceAttr which) {
  int value = 0;
  check(cudaDeviceGetAttribute(&value, which, 0), "read an attribute");
  return value;
}

int residentBlocks(int threads, size_t sharedBytes) {
  int blocks = 0;
  check(cudaOccupancyMaxActiveBlocksPerMultiprocessor(&blocks, doNothing, threads, sharedBytes), "ask how many blocks fit");
  return blocks;
}

TEST(a_chip_has_the_limits_of_its_architecture) {
  for (const Chip& chip : chips) {
    const std::string name = std::to_string(chip.name);
    const OfArchitecture architecture(name);
    cudaDeviceProp properties;
    check(cudaGetDeviceProperties(&properties, 0), "describe the device");
    const auto expectBoth = [&](const char* what, int value, cudaDeviceAttr asAttribute, auto asProperty) {
      expect(attribute(asAttribute) == value && asProperty == static_cast<decltype(asProperty)>(value), name + ": " + what);
    };
    expectBoth("major", chip.major, cudaDevAttrComputeCapabilityMajor, properties.major);
    expectBoth("minor", chip.minor, cudaDevAttrComputeCapabilityMinor, properties.minor);
    expectBoth("a block's shared memory", chip.blockKiB * KiB, cudaDevAttrMaxSharedMemoryPerBlockOptin, properties.sharedMemPerBlockOptin);
    expectBoth("a multiprocessor's shared memory", chip.multiprocessorKiB * KiB, cudaDevAttrMaxSharedMemoryPerMultiprocessor,
               properties.sharedMemPerMultiprocessor);
    expectBoth("a multiprocessor's threads", chip.threads, cudaDevAttrMaxThreadsPerMultiProcessor, properties.maxThreadsPerMultiProcessor);
    expect(residentBlocks(32, 0) == chip.blocks, name + ": blocks of one warp");
    expect(residentBlocks(512, 0) == chip.threads / 512, name + ": blocks of 512 threads");
    // What each takes besides its own leaves no room for two halves.
    const int halves = chip.blockKiB == chip.multiprocessorKiB ? 2 : 1;
    expect(residentBlocks(32, chip.blockKiB * KiB / 2) == halves, name + ": blocks of half the memory");

    const auto refused = [&](size_t bytes) { return refusal(doNothing, {.grid = 1, .block = 32, .sharedBytes = bytes}); };
    expect(refused(chip.blockKiB * KiB).empty(), name + ": all that a block may have");
    expectContains(refused(chip.blockKiB * KiB + 1), "cudaErrorInvalidValue");
    expect(refusal(doNothing, {.grid = 2, .block = 32, .cluster = 2}).empty() == (chip.major >= 9), name + ": a cluster");
    const std::string hopper = hopperRefusal();
    if (chip.name == 90) expect(hopper.empty(), hopper);
    else expectContains(hopper, "no kernel image is available for execution on the device (cudaErrorNoKernelImageForDevice)");
    check(cudaDeviceSynchronize(), "wait");
  }
}

TEST(a_device_of_an_architecture_that_there_is_not_refuses_everything) {
  for (const char* name : {"91", "ampere", "8.6"}) {
    const OfArchitecture architecture(name);
    const std::string sentence = std::string("REPA_SIMT_ARCH is \"") + name + "\"; expected 75, 80, 86";
    int count = 0;
    expect(cudaGetDeviceCount(&count) == cudaErrorInitializationError && cudaGetLastError() == cudaErrorInitializationError, "the count");
    expectContains(cudaGetErrorString(cudaErrorInitializationError), sentence);
    expectContains(refusal(doNothing, {.grid = 1, .block = 32}), sentence);
  }
  expect(std::string(cudaGetErrorString(cudaErrorInitializationError)) == "initialization error", "the error's text of a known one");
}

/// With 8 KiB of its own beside what a launch gives it. An instance for each test: what has been asked for a kernel stays.
template <int instance>
__global__ void twoKindsOfShared(float* out) {
  __shared__ float fixed[2048];
  REPA_DYNAMIC_SHARED(dynamic);
  fixed[threadIdx.x] = 1;
  reinterpret_cast<float*>(dynamic)[threadIdx.x] = 2;
  out[threadIdx.x] = fixed[threadIdx.x] + reinterpret_cast<float*>(dynamic)[threadIdx.x];
}

TEST(a_kernels_static_shared_memory_counts) {
  DeviceArray<float> out(32);
  float* to = out.data();
  const auto kernel = twoKindsOfShared<0>;
  const auto started = [&](int bytes) {
    cudaLaunchConfig_t config = {};
    config.gridDim = 1;
    config.blockDim = 32;
    config.dynamicSmemBytes = static_cast<size_t>(bytes);
    const cudaError_t error = cudaLaunchKernelEx(&config, kernel, to);
    cudaGetLastError();
    return error;
  };
  const auto asked = [&](int bytes) { return cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes); };
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(&attributes, kernel), "describe the kernel");
  expect(attributes.sharedSizeBytes == 8 * KiB && attributes.maxDynamicSharedSizeBytes == 40 * KiB, "what the kernel has");
  expect(started(40 * KiB) == cudaSuccess, "48 KiB, unasked");
  expect(started(40 * KiB + 1) == cudaErrorInvalidValue, "more, unasked");
  expect(asked(219 * KiB) == cudaSuccess && started(219 * KiB) == cudaSuccess, "227 KiB");
  expect(asked(219 * KiB + 1) == cudaErrorInvalidValue, "more than 227 KiB");
  cudaGetLastError();
  check(cudaDeviceSynchronize(), "wait");
}

TEST(launch_asks_for_what_a_kernel_takes_with_its_static_shared_memory) {
  DeviceArray<float> out(32);
  const std::string sentence = refusal(twoKindsOfShared<1>, {.grid = 1, .block = 32, .sharedBytes = 48 * KiB}, out.data());
  expect(sentence.empty(), sentence);
  expect(out.read()[31] == 3, "1 + 2");
}

TEST(launch_lowers_no_limit_that_others_have_asked_for) {
  DeviceArray<float> out(32);
  const auto kernel = twoKindsOfShared<2>;
  for (const size_t bytes : {90 * KiB, 4 * KiB}) {
    const std::string sentence = refusal(kernel, {.grid = 1, .block = 32, .sharedBytes = bytes}, out.data());
    expect(sentence.empty(), sentence);
  }
  cudaFuncAttributes attributes;
  check(cudaFuncGetAttributes(&attributes, kernel), "describe the kernel");
  expect(attributes.maxDynamicSharedSizeBytes == 90 * KiB, "after 90 KiB and 4 KiB: " + std::to_string(attributes.maxDynamicSharedSizeBytes));
}

}  // namespace

}  // namespace repa::cuda::test
