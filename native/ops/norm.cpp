#include "ops/norm.h"

#include <string>

#include "core/error.h"

namespace repa::ops {

Norm normOf(const char* op, const std::string& name) {
  if (name == "layerNorm") return Norm::layerNorm;
  if (name == "rmsNorm") return Norm::rmsNorm;
  throw Error(ErrorCode::invalidArgument, std::string(op) + ": \"" + name + "\" is not a norm: expected layerNorm or rmsNorm.");
}

}  // namespace repa::ops
