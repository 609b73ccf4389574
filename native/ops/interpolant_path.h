// The names of the interpolants' paths.
#pragma once

#include <string>

#include "core/error.h"
#include "cpu/interpolant.h"

namespace repa::ops {

/// "linear" or "cosine".
inline cpu::InterpolantPath interpolantPathOf(const char* op, const std::string& name) {
  if (name == "linear") return cpu::InterpolantPath::linear;
  if (name == "cosine") return cpu::InterpolantPath::cosine;
  throw Error(ErrorCode::invalidArgument, std::string(op) + ": \"" + name + "\" is not an interpolant's path: expected linear or cosine.");
}

}  // namespace repa::ops
