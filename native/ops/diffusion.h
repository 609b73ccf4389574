// What diffusion does to samples beside calling the model: noising, a step back, guidance.
#pragma once

#include <optional>
#include <vector>

#include "core/tensor.h"

namespace repa::ops {

/// x, y [B, ...], rows i32 [B], coefficients f64 [N, 2] -> coefficients[row, 0] x + coefficients[row, 1] y, sample by sample; without y
/// the first term only.
Tensor combineSamples(const Tensor& x, const std::optional<Tensor>& y, const Tensor& rows, const Tensor& coefficients);

/// One step back of a diffusion: x f64 [B, C, ...], prediction [B, C, ...] or with v behind it [B, 2C, ...], noise as x in f32 -> f64.
/// `coefficients`: cpu/diffusion.h's DenoisingStepCoefficients, in their order. Not differentiable.
Tensor denoisingStep(const Tensor& x, const Tensor& prediction, const std::optional<Tensor>& noise, const std::vector<double>& coefficients,
                     bool clip);

/// Classifier-free guidance, as DiT's forward_with_cfg: prediction [2B, C, ...], the conditional half before the unconditional one -> the
/// same with the first `channels` channels of both halves u + scale (c - u). Not differentiable.
Tensor guide(const Tensor& prediction, double scale, int64_t channels);

/// x [B, C, ...], of any dtype of computation -> [B, channels, ...]: the first of its channels, or all with zeros behind them. Its
/// gradient is itself, backwards.
Tensor resizeChannels(const Tensor& x, int64_t channels);

}  // namespace repa::ops
