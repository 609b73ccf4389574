// Activation functions, element by element.
#pragma once

#include <iosfwd>

#include "core/activation.h"
#include "core/tensor.h"

namespace repa::ops {

/// "none", "silu", "gelu-tanh" (SiT's), "gelu-erf" (DINOv2's) or "quick-gelu" (CLIP's).
Activation activationOf(const char* op, const std::string& name);

/// f(x), of x's shape.
Tensor activation(const Tensor& x, const std::string& kind);

/// dOut ⊙ f'(x).
Tensor activationBackward(const Tensor& dOut, const Tensor& x, const std::string& kind);

/// SwiGLU as DINOv2's ViT-g has it: x [..., 2h] = x1 | x2 -> silu(x1) ⊙ x2 [..., h].
Tensor swiGLU(const Tensor& x);
Tensor swiGLUBackward(const Tensor& dOut, const Tensor& x);

}  // namespace repa::ops
