// Stochastic interpolants between data (t = 0) and noise (t = 1), and the draw from an autoencoder's posterior.
#pragma once

#include <array>
#include <string>

#include "core/tensor.h"

namespace repa::ops {

/// x, noise [B, ...], t [B], path "linear" or "cosine" -> {x_t = α x + σ ε, velocity = α' x + σ' ε}.
std::array<Tensor, 2> interpolant(const Tensor& x, const Tensor& noise, const Tensor& t, const std::string& path);

/// moments [B, 2C, h, w] = mean | std, noise [B, C, h, w] -> (mean + std · noise) · scale + bias.
Tensor samplePosterior(const Tensor& moments, const Tensor& noise, double scale, double bias);

}  // namespace repa::ops
