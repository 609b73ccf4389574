// Between images and token rows. A patch is patch x patch pixels; an image's patches are numbered along its rows first;
// height and width are multiples of the patch.
//
// The two directions order a patch's elements differently, as REPA and DiT do:
//   patchify    (channel, py, px), px fastest: the order of the embedding's convolution weight [D, C, patch, patch];
//   unpatchify  (py, px, channel), channel fastest: the order of the final Linear's outputs.
#pragma once

#include <cstdint>

#include "core/thread_pool.h"
#include "cpu/level.h"

namespace repa::cpu {

/// image [batch, channels, height, width] -> patches [batch, tokens, channels * patch * patch],
/// tokens = (height / patch) (width / patch).
struct ImageToPatchesArgs {
  int64_t batch, channels, height, width, patch;
  const float* image;
  float* patches;
};

/// The way back: every element of patches goes to its pixel.
struct PatchesToImageArgs {
  int64_t batch, channels, height, width, patch;
  const float* patches;
  float* image;
};

struct PatchKernels {
  void (*patchify)(ThreadPool&, const ImageToPatchesArgs&);
  /// A permutation's gradient is its inverse: patches is the gradient that comes, image the one that goes.
  void (*patchifyBackward)(ThreadPool&, const PatchesToImageArgs&);
  void (*unpatchify)(ThreadPool&, const PatchesToImageArgs&);
  /// image is the gradient that comes, patches the one that goes.
  void (*unpatchifyBackward)(ThreadPool&, const ImageToPatchesArgs&);
};

REPA_CPU_KERNELS(PatchKernels, patchKernels);

}  // namespace repa::cpu
