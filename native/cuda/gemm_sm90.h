// What Hopper's kernel for products (gemm_sm90_kernel.cuh) exists for: the ways to finish a sum, and the tiles.
#pragma once

#include <cuda_runtime.h>

#include <span>
#include <vector>

#include "cuda/gemm_problem.h"

namespace repa::cuda {

/// How a consumer finishes its sums: by way of shared memory, whatever follows (gemm_sm90_slabs.cuh), or straight from registers
/// (gemm_sm90_finish.cuh).
enum class Finish : uint8_t { general, store, silu, geluTanh, geluErf, quickGelu, gatedResidual, siluBackward, geluTanhBackward };

struct Sm90Instance {
  GemmLayout layout;
  Finish finish;
};
constexpr Sm90Instance kSm90Instances[] = {
    {GemmLayout::forward, Finish::general},        {GemmLayout::forward, Finish::store},
    {GemmLayout::forward, Finish::silu},           {GemmLayout::forward, Finish::geluTanh},
    {GemmLayout::forward, Finish::geluErf},        {GemmLayout::forward, Finish::quickGelu},
    {GemmLayout::forward, Finish::gatedResidual},
    {GemmLayout::inputGradient, Finish::general},  {GemmLayout::inputGradient, Finish::store},
    {GemmLayout::inputGradient, Finish::siluBackward}, {GemmLayout::inputGradient, Finish::geluTanhBackward},
    {GemmLayout::weightGradient, Finish::general}, {GemmLayout::weightGradient, Finish::store},
};

/// The tile that every instance of a layout exists in.
constexpr GemmTile standardTileSm90(GemmLayout layout) { return layout == GemmLayout::weightGradient ? GemmTile{256, 128} : GemmTile{128, 128}; }
/// The others: consumers in turns, and together.
constexpr GemmTile kTile192{128, 192}, kTile256{128, 256};

/// Whether an instance exists in a tile. What Finish::store does not, none does: a sum that is cut is finished so, whatever follows.
constexpr bool hasTileSm90(Sm90Instance instance, GemmTile tile) {
  if (tile == standardTileSm90(instance.layout)) return true;
  if (tile == kTile192) return instance.layout != GemmLayout::weightGradient && instance.finish != Finish::general;
  // Consumers that work together have nothing to multiply meanwhile: only where the epilogue is short.
  return tile == kTile256 && (instance.finish == Finish::store || instance.finish == Finish::gatedResidual);
}

/// How products that share a launch are finished: directly where all is aligned and the epilogue is one of those.
Finish finishSm90(const GemmGroup& group);

/// The tiles in which products that share a launch may be computed and that fit their sizes, the standard one first.
std::vector<GemmTile> tilesSm90(std::span<const GemmArgs> products);

/// Launches all `tiles` of the group, which are of the shape `tile`.
void launchGemmSm90(cudaStream_t stream, const GemmGroup& group, GemmTile tile, int tiles);

/// The same in kTile192 and kTile256.
void launchWideGemmSm90(cudaStream_t stream, const GemmGroup& group, GemmTile tile, int tiles);

}  // namespace repa::cuda
