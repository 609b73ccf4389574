// What kind of error native code throws; no more than an enumeration, for headers that every file of kernels reads.
#pragma once

namespace repa {

enum class ErrorCode {
  invalidArgument,  // a value that the call cannot take
  shape,            // a tensor of the wrong shape
  dtype,            // a tensor of the wrong element type
  device,           // a tensor on the wrong device, or no such device
  disposed,         // a tensor that was disposed
  outOfMemory,      // the device's memory limit would be passed
  failed,           // an operation failed in the device's queue
};

/// Throws core/error.h's Error with the sentence that printf would print. For kernels' files: what Error needs of the standard library
/// costs nvcc half a second a file.
[[noreturn, gnu::format(printf, 2, 3)]] void throwError(ErrorCode code, const char* format, ...);

}  // namespace repa
