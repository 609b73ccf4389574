// Whether this process can use CUDA, and if not, why: each reason is a sentence of its own to the user.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace repa {

/// Where this build has CUDA kernels: nvcc was there (or they run on the SIMT shim).
#if defined(REPA_CUDA)
inline constexpr bool kBuiltWithCuda = true;
#else
inline constexpr bool kBuiltWithCuda = false;
#endif

enum class CudaState {
  notBuilt,  // the addon holds no CUDA kernels
  noDriver,  // no NVIDIA driver, or one older than the CUDA runtime in the addon
  noDevice,  // a driver, but no GPU that this process may use
  tooOld,    // GPUs, but none of compute capability 8.0 or later
  ready,
};

/// "not-built", "no-driver", "no-device", "too-old" or "ready": what JS sees.
constexpr const char* cudaStateName(CudaState state) {
  switch (state) {
    case CudaState::notBuilt: return "not-built";
    case CudaState::noDriver: return "no-driver";
    case CudaState::noDevice: return "no-device";
    case CudaState::tooOld: return "too-old";
    case CudaState::ready: return "ready";
  }
  return "?";
}

struct CudaDeviceInfo {
  int ordinal;
  std::string name;
  int64_t memoryBytes;
  int major, minor;  // compute capability
  int multiprocessors;
  /// Whether the kernels run on it: compute capability 8.0 or later.
  bool usable;

  /// Whether code for sm_90a (TMA, wgmma) runs on it: on 9.0 alone, and on nothing later.
  bool runsHopperKernels() const { return major == 9 && minor == 0; }

  /// Throws Error(device) where it does not: `setting` asks for such kernels.
  void requireHopperFor(const std::string& setting) const;
};

struct CudaStatus {
  CudaState state = CudaState::notBuilt;
  /// A sentence for the user where the state is not `ready`; else empty.
  std::string reason;
  /// As CUDA counts: 13000 is 13.0; 0 where unknown.
  int driverVersion = 0, runtimeVersion = 0;
  std::vector<CudaDeviceInfo> devices;
};

/// Asked once per process.
const CudaStatus& cudaStatus();

}  // namespace repa
