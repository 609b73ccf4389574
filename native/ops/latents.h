// What an autoencoder's encoder says of images, as latents: the moments of its posterior, and standardised values.
#pragma once

#include "core/tensor.h"

namespace repa::ops {

/// An encoder's parameters [B, 2C, h, w] = mean | log variance -> mean | standard deviation, exp(log variance / 2) with the logarithm
/// clamped to [-30, 20].
Tensor posteriorMoments(const Tensor& parameters);

/// (x - mean) / std: x [B, ...], mean and std of the leading axes of a sample, and the same for what lies behind those.
Tensor standardize(const Tensor& x, const Tensor& mean, const Tensor& std);

}  // namespace repa::ops
