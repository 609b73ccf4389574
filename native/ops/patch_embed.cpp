#include "ops/patch_embed.h"

#include "cuda/pad_rows.h"
#include "cuda/patch.h"
#include "cuda/patch_embed.h"
#include "ops/linear.h"
#include "ops/linear_combination.h"
#include "ops/patch.h"
#include "ops/patch_grid.h"
#include "ops/reduction.h"

namespace repa::ops {

namespace {

struct Patches {
  int64_t tokens, elements;
};

Patches requireImage(const char* op, const Tensor& image, int64_t patch) {
  requireRank(op, "image", image, 4, "[B, C, H, W]");
  requirePatches(op, image.size(2), image.size(3), patch);
  return {(image.size(2) / patch) * (image.size(3) / patch), patchElements(op, image.size(1), patch)};
}

/// The GPU, where it has a kernel for patches of so many elements.
CudaDevice* kernelQueue(const char* op, const Tensor& image, const Patches& patches) {
  CudaDevice* const cuda = cudaQueue(image);
  if (!cuda || patches.elements > cuda::kMostPatchElements) return nullptr;
  requireIndexable(op, "a sample", image.size(1) * image.size(2) * image.size(3));
  require(image.size(0) * patches.tokens < int64_t{1} << 31, op, "a GPU takes fewer than 2^31 tokens.");
  return cuda;
}

/// Elements of a row of patches and of the weight in a GPU's product: in 16 bits as many as fill whole units of 16 bytes, without which
/// neither the TMA nor wide copies can fetch them. DINOv2's 3 x 14 x 14 = 588 become 592.
int64_t paddedElements(const Tensor& weight) {
  const int64_t elements = weight.size(1);
  return cudaQueue(weight) && weight.dtype() != DType::f32 ? (elements + 7) / 8 * 8 : elements;
}

/// With zeros behind the patches and the weight's rows. The weight's are written anew in every call: a hundredth of the patches.
Tensor paddedPatchEmbed(const char* op, const Tensor& image, int64_t patch, const Tensor& weight, const std::optional<Tensor>& bias,
                        const Tensor& positions) {
  CudaDevice& queue = *cudaQueue(weight);
  const int64_t elements = paddedElements(weight);
  requireIndexable(op, "a row of patches", image.size(3) / patch * elements);
  const Tensor patches = Tensor::empty(image.device(), {image.size(0), positions.size(0), elements}, weight.dtype(), op);
  const Tensor rows = Tensor::empty(image.device(), {weight.size(0), elements}, weight.dtype(), op);
  queue.enqueue("patchify", [&](cudaStream_t stream) { cuda::imageToPatches(stream, image, patch, cuda::PatchOrder::channelFirst, patches); });
  queue.enqueue(op, [&](cudaStream_t stream) { cuda::padRows(stream, weight, rows); });
  return linearAddend(patches, rows, bias, positions);
}

}  // namespace

Tensor patchEmbed(const Tensor& image, int64_t patch, const Tensor& weight, const std::optional<Tensor>& bias, const Tensor& positions) {
  const char* op = "patchEmbed";
  const Patches patches = requireImage(op, image, patch);
  requireCompute(op, "weight", weight);
  requireRank(op, "weight", weight, 2, "[D, C p p]", weight.dtype());
  const int64_t width = weight.size(0);
  requireShape(op, "weight", weight, {width, patches.elements}, weight.dtype());
  if (bias) requireShape(op, "bias", *bias, {width});
  requireShape(op, "positions", positions, {patches.tokens, width});
  if constexpr (kBuiltWithCuda) {
    if (CudaDevice* cuda = kernelQueue(op, image, patches)) {
      const Tensor tokens = Tensor::empty(image.device(), {image.size(0), patches.tokens, width}, DType::f32, op);
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::patchEmbed(stream, image, patch, weight, bias, positions, tokens); });
      return tokens;
    }
    if (paddedElements(weight) != patches.elements) return paddedPatchEmbed(op, image, patch, weight, bias, positions);
  }
  return linearAddend(patchify(image, patch, dtypeName(weight.dtype())), weight, bias, positions);
}

void patchEmbedBackward(const Tensor& dTokens, const Tensor& image, int64_t patch, const std::string& dtype, const Tensor& dWeight,
                        const std::optional<Tensor>& dBias, bool accumulate) {
  const char* op = "patchEmbedBackward";
  const Patches patches = requireImage(op, image, patch);
  const DType compute = computeDType(op, image.device(), dtype);
  requireRank(op, "dWeight", dWeight, 2, "[D, C p p]");
  const int64_t width = dWeight.size(0);
  requireShape(op, "dWeight", dWeight, {width, patches.elements});
  if (dBias) requireShape(op, "dBias", *dBias, {width});
  requireShape(op, "dTokens", dTokens, {image.size(0), patches.tokens, width});
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = kernelQueue(op, image, patches)) {
      const Tensor scratch = scratchFloats(*cuda, cuda::patchEmbedBackwardScratchFloats(dTokens, dWeight), op);
      return cuda->enqueue(op, [&](cudaStream_t stream) {
        cuda::patchEmbedBackward(stream, dTokens, image, patch, compute, dWeight, dBias, accumulate, scratch);
      });
    }
  if (dBias && width > 0) columnSum(dTokens, *dBias, accumulate);
  linearWeightGradient(compute == DType::f32 ? dTokens : cast(dTokens, dtype), patchify(image, patch, dtype), dWeight, accumulate);
}

}  // namespace repa::ops
