// Norms by their names.
#pragma once

#include <iosfwd>

#include "core/norm.h"

namespace repa::ops {

/// Of its name, "layerNorm" or "rmsNorm". `op`: an operation's name, for the Error(invalidArgument) where it is another.
Norm normOf(const char* op, const std::string& name);

}  // namespace repa::ops
