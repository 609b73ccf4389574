// The argument `state` of losses and of the optimizer.
#pragma once

#include <optional>

#include "core/step_state.h"
#include "ops/require.h"

namespace repa::ops {

inline StepState* stateOf(const char* op, const Tensor& state) {
  requireShape(op, "state", state, {static_cast<int64_t>(sizeof(StepState))}, DType::u8);
  // Bytes may be viewed from any of them on; numbers are read at their own alignment, without which a GPU is lost.
  require(reinterpret_cast<uintptr_t>(state.data()) % alignof(StepState) == 0, op,
          "state is a view that begins at no multiple of " + std::to_string(alignof(StepState)) + " bytes; expected a tensor of its own.");
  return static_cast<StepState*>(state.data());
}

/// Null where there is none.
inline const StepState* stateOf(const char* op, const std::optional<Tensor>& state) { return state ? stateOf(op, *state) : nullptr; }

}  // namespace repa::ops
