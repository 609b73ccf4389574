// The argument `state` of losses.
#pragma once

#include <optional>

#include "core/step_state.h"
#include "ops/require.h"

namespace repa::ops {

/// The optimizer's state, or null.
inline const StepState* stateOf(const char* op, const std::optional<Tensor>& state) {
  if (!state) return nullptr;
  requireShape(op, "state", *state, {static_cast<int64_t>(sizeof(StepState))}, DType::u8);
  return static_cast<const StepState*>(state->data());
}

}  // namespace repa::ops
