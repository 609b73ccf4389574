// Queries, keys and values of all heads in one tensor, as a block's first product writes them.
#pragma once

#include <string>

#include "core/tensor.h"
#include "ops/require.h"

namespace repa::ops {

/// head_dim of a packed qkv [B, T, 3 H d]. Throws Error where it is something else. May be 0.
inline int64_t headDim(const char* op, const char* name, const Tensor& qkv, int64_t heads) {
  requireCompute(op, name, qkv);
  requireRank(op, name, qkv, 3, "[B, T, 3 H d]", qkv.dtype());
  require(heads >= 1 && qkv.size(2) % (3 * heads) == 0, op,
          std::string(name) + " has shape " + qkv.shape().text() + ", whose last axis is not 3 x " + std::to_string(heads) + " heads x head_dim.");
  return qkv.size(2) / (3 * heads);
}

/// The same of what attends: 1 to 128, which attention's kernels take.
inline int64_t attentionHeadDim(const char* op, const char* name, const Tensor& qkv, int64_t heads) {
  const int64_t d = headDim(op, name, qkv, heads);
  require(d >= 1 && d <= 128, op, "head_dim of " + std::string(name) + " is " + std::to_string(d) + "; it may be 1 to 128.");
  return d;
}

}  // namespace repa::ops
