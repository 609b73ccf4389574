// The one exception type that native code throws. The addon turns it into a JS Error with the same code and message.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include "core/error_code.h"

namespace repa {

/// "ERR_SHAPE" and so on: what JS sees as error.code.
constexpr const char* errorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalidArgument: return "ERR_INVALID_ARGUMENT";
    case ErrorCode::shape: return "ERR_SHAPE";
    case ErrorCode::dtype: return "ERR_DTYPE";
    case ErrorCode::device: return "ERR_DEVICE";
    case ErrorCode::disposed: return "ERR_DISPOSED";
    case ErrorCode::outOfMemory: return "ERR_OUT_OF_MEMORY";
    case ErrorCode::failed: return "ERR_DEVICE_FAILED";
  }
  return "ERR_UNKNOWN";
}

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, std::string message) : std::runtime_error(std::move(message)), code_(code) {}
  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace repa
