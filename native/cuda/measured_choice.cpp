#include "cuda/measured_choice.h"

#include <map>
#include <mutex>
#include <optional>

#include "core/error.h"
#include "cuda/check.h"
#include "cuda/kernel_choices_file.h"
#include "cuda/status.h"

namespace repa::cuda {

namespace {

std::string keyOf(const CudaDeviceInfo& device, const std::string& rest) {
  return device.name + " " + std::to_string(device.major) + "." + std::to_string(device.minor) + " x" + std::to_string(device.multiprocessors) + "; " + rest;
}

}  // namespace

std::string measuredChoice(cudaStream_t stream, const CudaDeviceInfo& device, const Choosing& choosing, FunctionRef<std::string()> measure) {
  static std::mutex mutex;
  static std::map<std::string, std::string> known;
  const std::string key = keyOf(device, choosing.key);
  std::lock_guard lock(mutex);
  if (const auto found = known.find(key); found != known.end()) return found->second;
  const std::string asked = choosing.variable + "=auto", path = kernelChoicesPath();
  std::optional<std::string> choice = readKernelChoice(path, key);
  if (!choice) {
    cudaStreamCaptureStatus capturing = cudaStreamCaptureStatusNone;
    check(cudaStreamIsCapturing(stream, &capturing), "ask whether a step is captured");
    if (capturing != cudaStreamCaptureStatusNone)
      throw Error(ErrorCode::invalidArgument,
                  asked + " has not measured " + choosing.what + " of this shape yet, and cannot while a step is captured; run the step once before.");
    try {
      choice = keepKernelChoice(asked, path, key, measure());
    } catch (const Error& error) {
      if (error.code() != ErrorCode::outOfMemory) throw;
      throw Error(error.code(), std::string(error.what()) + " Or unset " + choosing.variable +
                                    ": auto measures each shape once, with results of its own beside the step's memory.");
    }
  }
  return known.emplace(key, *choice).first->second;
}

void refuseChoice(const std::string& choice, const std::string& whose) {
  throw Error(ErrorCode::invalidArgument,
              kernelChoicesPath() + " holds the choice \"" + choice + "\", which is none of " + whose + "; delete the file to measure anew.");
}

}  // namespace repa::cuda
