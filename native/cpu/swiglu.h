// SwiGLU as DINOv2's ViT-g has it between its two Linears: one Linear gives [x1 | x2], and silu(x1) gates x2.
//
//   out = silu(x1) * x2     silu(x) = x * sigmoid(x)
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

struct SwigluForwardArgs {
  const float* in;  // [rows, 2 * hidden]: x1 | x2
  float* out;       // [rows, hidden], overwritten
  int64_t rows;
  int64_t hidden;
};

struct SwigluBackwardArgs {
  const float* in;    // [rows, 2 * hidden], as in forward
  const float* dOut;  // [rows, hidden]
  float* dIn;         // [rows, 2 * hidden], overwritten; may be `in` itself
  int64_t rows;
  int64_t hidden;
};

struct SwigluKernels {
  void (*forward)(ThreadPool& pool, const SwigluForwardArgs& args);
  void (*backward)(ThreadPool& pool, const SwigluBackwardArgs& args);
};

REPA_CPU_KERNELS(SwigluKernels, swigluKernels);

}  // namespace repa::cpu
