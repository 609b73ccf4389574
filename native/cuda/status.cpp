#include "cuda/status.h"

#include "core/error.h"

#if defined(REPA_CUDA)
#include <cuda_runtime.h>
#endif

namespace repa {

namespace {

#if defined(REPA_CUDA)

std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

CudaStatus ask() {
  CudaStatus status;
  cudaRuntimeGetVersion(&status.runtimeVersion);
  // 0 where there is no driver; the call itself succeeds.
  cudaDriverGetVersion(&status.driverVersion);
  int count = 0;
  const cudaError_t counted = cudaGetDeviceCount(&count);
  // The error would otherwise be reported once more by the next call that asks for the last one.
  cudaGetLastError();
  if (counted == cudaErrorInsufficientDriver) {
    status.state = CudaState::noDriver;
    status.reason = status.driverVersion == 0
                        ? "this build has CUDA kernels, but there is no NVIDIA driver here; install one for CUDA " + version(status.runtimeVersion) + " or later"
                        : "the NVIDIA driver here is for CUDA " + version(status.driverVersion) + ", this build needs one for CUDA " +
                              version(status.runtimeVersion) + " or later; update the driver";
    return status;
  }
  if (counted == cudaErrorNoDevice || (counted == cudaSuccess && count == 0)) {
    status.state = CudaState::noDevice;
    status.reason = "there is an NVIDIA driver, but no GPU that this process may use; check nvidia-smi and CUDA_VISIBLE_DEVICES";
    return status;
  }
  if (counted != cudaSuccess) {
    status.state = CudaState::noDriver;
    status.reason = std::string("the NVIDIA driver does not answer: ") + cudaGetErrorString(counted) + " (" + cudaGetErrorName(counted) + ")";
    return status;
  }
  for (int ordinal = 0; ordinal < count; ++ordinal) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, ordinal) != cudaSuccess) continue;
    status.devices.push_back({ordinal, properties.name, static_cast<int64_t>(properties.totalGlobalMem), properties.major, properties.minor,
                              properties.multiProcessorCount, properties.major >= 8});
  }
  for (const CudaDeviceInfo& device : status.devices)
    if (device.usable) status.state = CudaState::ready;
  if (status.state != CudaState::ready) {
    status.state = CudaState::tooOld;
    status.reason = "no GPU here is recent enough: the kernels need compute capability 8.0 (Ampere) or later";
    for (const CudaDeviceInfo& device : status.devices)
      status.reason += ", " + device.name + " has " + std::to_string(device.major) + "." + std::to_string(device.minor);
  }
  return status;
}

#else

CudaStatus ask() {
  CudaStatus status;
  status.reason = "this build of repa-native has no CUDA kernels; build it where nvcc is found (npm run build:native)";
  return status;
}

#endif

}  // namespace

void CudaDeviceInfo::requireHopperFor(const std::string& setting) const {
  if (!runsHopperKernels())
    throw Error(ErrorCode::device, setting + " asks for kernels of compute capability 9.0, and " + name + " has " + std::to_string(major) + "." +
                                       std::to_string(minor) + "; leave it unset.");
}

const CudaStatus& cudaStatus() {
  static const CudaStatus status = ask();
  return status;
}

}  // namespace repa
