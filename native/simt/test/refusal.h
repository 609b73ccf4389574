// What CUDA says of a launch that it does not take.
#pragma once

#include <string>

#include "core/error.h"
#include "cuda/launch.h"

namespace repa::cuda::test {

/// The sentence that the launch of a kernel is refused with, "" where it is not.
template <class... Parameters, class... Arguments>
std::string refusal(void (*kernel)(Parameters...), const LaunchShape& shape, Arguments... arguments) {
  try {
    launch(nullptr, kernel, shape, arguments...);
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

}  // namespace repa::cuda::test
