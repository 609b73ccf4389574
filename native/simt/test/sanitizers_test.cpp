// What the sanitizers find that nothing else does, each in a process of its own.
#include <atomic>

#include "core/error.h"
#include "cuda/launch.h"
#include "simt/test/check.h"
#include "simt/test/child.h"
#include "simt/test/racy_bugs.h"

namespace repa::cuda::test {

// ---- AddressSanitizer

__global__ void readPastDeviceMemory(const float* in, float* out, int n) {
  const int i = threadIdx.x;
  if (i < n) out[i] = in[i] + in[i + 1];
}

__global__ void writePastStaticShared(float* out, int offset) {
  __shared__ float tile[32];
  tile[threadIdx.x + offset] = 1;
  out[threadIdx.x] = tile[threadIdx.x];
}

__global__ void writePastDynamicShared(float* out) {
  REPA_DYNAMIC_SHARED(shared);
  auto* tile = reinterpret_cast<float*>(shared);
  tile[threadIdx.x] = 2;
  out[threadIdx.x] = tile[threadIdx.x];
}

/// A chip refuses it, an x86-64 processor mostly does not.
__global__ void readMisaligned(const float* in, float* out) { out[threadIdx.x] = reinterpret_cast<const float2*>(in + 1)[threadIdx.x].y; }

__global__ void fillLater(float* out) { out[threadIdx.x] = 1; }

void copyToFreedMemory() {
  DeviceArray<float> out(32);
  void* pinned = nullptr;
  check(cudaMallocHost(&pinned, 128), "pin");
  static std::atomic<bool> freed = false;
  cudaLaunchHostFunc(nullptr, [](void*) { while (!freed) usleep(100); }, nullptr);
  launch(nullptr, fillLater, LaunchShape{.grid = 1, .block = 32}, out.data());
  check(cudaMemcpyAsync(pinned, out.data(), 128, cudaMemcpyDeviceToHost, nullptr), "copy");
  check(cudaFreeHost(pinned), "free what a copy under way writes");
  freed = true;
  cudaDeviceSynchronize();
}

struct AddressBug {
  const char* name;
  void (*run)();
  const char* report;
  const char* place;
};

const AddressBug addressBugs[] = {
    {"read_past_device_memory",
     [] {
       DeviceArray<float> in(32), out(32);
       launch(nullptr, readPastDeviceMemory, LaunchShape{.grid = 1, .block = 32}, in.data(), out.data(), 32);
       cudaDeviceSynchronize();
     },
     "AddressSanitizer: heap-buffer-overflow", "out[i] = in[i] + in[i + 1]"},
    {"write_past_static_shared_memory",
     [] {
       DeviceArray<float> out(32);
       launch(nullptr, writePastStaticShared, LaunchShape{.grid = 1, .block = 32}, out.data(), 1);
       cudaDeviceSynchronize();
     },
     "AddressSanitizer: global-buffer-overflow", "tile[threadIdx.x + offset] = 1;"},
    {"write_past_dynamic_shared_memory",
     [] {
       DeviceArray<float> out(32);
       launch(nullptr, writePastDynamicShared, LaunchShape{.grid = 1, .block = 32, .sharedBytes = 124}, out.data());
       cudaDeviceSynchronize();
     },
     "AddressSanitizer: heap-buffer-overflow", "tile[threadIdx.x] = 2;"},
    {"host_memory_freed_too_early", copyToFreedMemory, "AddressSanitizer: heap-use-after-free", nullptr},
    {"misaligned_pair",
     [] {
       DeviceArray<float> in(65), out(32);
       launch(nullptr, readMisaligned, LaunchShape{.grid = 1, .block = 32}, in.data(), out.data());
       cudaDeviceSynchronize();
     },
     "misaligned address", "reinterpret_cast<const float2*>(in + 1)"},
};

#if defined(__SANITIZE_ADDRESS__)
TEST(address_sanitizer_finds_what_is_out_of_bounds_or_misaligned) {
  for (const AddressBug& bug : addressBugs) {
    const std::string output = outputOfBug(bug.name);
    expectContains(output, bug.report);
    if (bug.place) expectContains(output, lineOf(__FILE__, "sanitizers_test.cpp", bug.place));
  }
}
#endif

// ---- ThreadSanitizer

#if defined(__SANITIZE_THREAD__)
TEST(thread_sanitizer_finds_races_at_their_lines) {
  for (const RacyBug& bug : racyBugs) {
    if (!bug.file) continue;
    const std::string output = outputOfBug(bug.name);
    expect(output.find("ThreadSanitizer: data race") != std::string::npos, std::string(bug.name) + ": no race was reported");
    for (const char* text : {bug.oneLine, bug.otherLine}) {
      const std::string place = lineOf(__FILE__, bug.file, text);
      expect(output.find(place) != std::string::npos, std::string(bug.name) + ": no report names " + place);
    }
  }
}
#endif

bool runBug(const std::string& name) {
  try {
    for (const RacyBug& bug : racyBugs)
      if (name == bug.name) return bug.run(), true;
    for (const AddressBug& bug : addressBugs)
      if (name == bug.name) return bug.run(), true;
  } catch (const Error& error) {
    std::printf("%s\n", error.what());  // the shim may find it too
    return true;
  }
  return false;
}

}  // namespace repa::cuda::test
