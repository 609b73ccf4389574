// Which of attention's kernels runs: FMAs for f32; for bf16 and f16 tensor cores: Hopper's own where it has a faster one, resident where a
// head fits into shared memory.
#include "cuda/attention.h"

#include <cmath>
#include <cstdlib>
#include <limits>
#include <optional>
#include <string>

#include "core/error.h"
#include "cuda/alignment.h"
#include "cuda/attention_arguments.h"
#include "cuda/cuda_device.h"
#include "cuda/dtype_switch.h"
#include "cuda/measured_choice.h"
#include "cuda/partial_sums.h"
#include "cuda/stopwatch.h"

namespace repa::cuda {

namespace {

/// A grid has at most 2^31 - 1 blocks; every block here has at least one head and some of its rows.
void requireGrid(int64_t batch, int64_t tokens, int64_t heads) {
  constexpr int64_t most = 0x7fffffff;
  constexpr int64_t rowsOfBlock = 16;
  if (tokens > most || heads > most || batch > most || batch * heads > most / ((tokens + rowsOfBlock - 1) / rowsOfBlock))
    throw Error(ErrorCode::shape, std::to_string(batch) + " samples of " + std::to_string(tokens) + " tokens in " +
                                      std::to_string(heads) +
                                      " heads are more blocks than a CUDA grid has (2^31 - 1); pass fewer samples at a time.");
}

int headDimOf(const Tensor& qkv, int64_t heads) { return static_cast<int>(qkv.size(2) / (3 * heads)); }

float scaleOf(int headDim) { return 1.0f / std::sqrt(static_cast<float>(headDim)); }

/// A row of a head begins a whole number of rows after the tensor, so the tensor's alignment and a whole number of units of 16
/// bytes in a row are enough.
template <class T, class... Pointers>
bool rowsAligned(int headDim, const Pointers*... pointers) {
  return headDim % (16 / sizeof(T)) == 0 && aligned16(pointers...);
}

/// The kernels of bf16 and f16 in the order in which they are tried: Hopper's own, then those of every GPU; of either, one that holds a
/// head in shared memory before one that streams. The last takes any size.
enum class AttentionKernel { wgmma, wgmmaStreamed, mma, mmaStreamed };
constexpr AttentionKernel kKernels[] = {AttentionKernel::wgmma, AttentionKernel::wgmmaStreamed, AttentionKernel::mma, AttentionKernel::mmaStreamed};
/// As REPA_ATTENTION and the file of choices call them.
constexpr const char* kNames[] = {"wgmma", "wgmma-streamed", "mma", "mma-streamed"};

const char* nameOf(AttentionKernel kernel) { return kNames[static_cast<int>(kernel)]; }

std::optional<AttentionKernel> kernelNamed(const std::string& name) {
  for (const AttentionKernel kernel : kKernels)
    if (name == nameOf(kernel)) return kernel;
  return std::nullopt;
}

bool isHoppers(AttentionKernel kernel) { return kernel <= AttentionKernel::wgmmaStreamed; }

bool isStreamed(AttentionKernel kernel) { return kernel == AttentionKernel::wgmmaStreamed || kernel == AttentionKernel::mmaStreamed; }

template <class T>
bool run(cudaStream_t stream, AttentionKernel kernel, const AttentionForward<T>& a, bool causal) {
  // Hopper's own have no causal form: a text is short, and not what a step waits for.
  if (isHoppers(kernel) && causal) return false;
  switch (kernel) {
    case AttentionKernel::wgmma: return attentionSm90(stream, a);
    case AttentionKernel::wgmmaStreamed: return attentionStreamedSm90(stream, a);
    case AttentionKernel::mma: return attentionResident(stream, a, causal);
    case AttentionKernel::mmaStreamed: attentionStreamed(stream, a, causal);
  }
  return true;
}

template <class T>
bool run(cudaStream_t stream, AttentionKernel kernel, const AttentionBackward<T>& a) {
  switch (kernel) {
    case AttentionKernel::wgmma: return attentionBackwardSm90(stream, a);
    case AttentionKernel::wgmmaStreamed: return attentionBackwardStreamedSm90(stream, a);
    case AttentionKernel::mma: return attentionBackwardResident(stream, a);
    case AttentionKernel::mmaStreamed: attentionBackwardStreamed(stream, a);
  }
  return true;
}

/// What the choice of a kernel depends on, for a GPU. Not on whether lse or sums of columns are kept: a result has the same bits with them
/// and without.
template <class Args>
std::string keyOf(const char* what, DType dtype, const Args& a) {
  return std::string(what).append(" ") + dtypeName(dtype) + " " + std::to_string(a.batch) + "x" + std::to_string(a.tokens) + "x" + std::to_string(a.heads) + "x" +
         std::to_string(a.headDim) + (a.aligned ? " aligned" : "");
}

/// The name of the kernel that takes the least time, of those that run.
template <class Runs>
std::string fastest(cudaStream_t stream, Runs&& runs) {
  Stopwatch stopwatch(stream);
  float least = std::numeric_limits<float>::infinity();
  std::string name;
  for (const AttentionKernel kernel : kKernels) {
    if (!runs(kernel)) continue;
    const float milliseconds = stopwatch.least([&] { runs(kernel); });
    if (milliseconds >= least) continue;
    least = milliseconds;
    name = nameOf(kernel);
  }
  return name;
}

/// Runs the kernel that the environment variable REPA_ATTENTION asks for, and says which one that was:
/// - one by its name, or where that is not made for such heads, those after it;
/// - by a measurement (`auto`), for which each runs a few times, writing its results again and again;
/// - unset, what was measured to be the fastest on an H200. `timed` says whether Hopper's own that holds a head in shared memory is known to
///   be. No chip has timed its own for 72 columns forward, nor its streamed ones; nor on sm_80 the streamed ones beside a head that is alone
///   on its SM.
/// `tryKernel` returns whether the kernel could.
template <class Key, class Try>
AttentionKernel runAsAsked(cudaStream_t stream, const CudaDeviceInfo& device, Key&& key, bool timed, Try&& tryKernel) {
  const char* const text = std::getenv("REPA_ATTENTION");
  const std::string asked = text ? text : "";
  const auto runs = [&](AttentionKernel kernel) { return (device.runsHopperKernels() || !isHoppers(kernel)) && tryKernel(kernel); };
  if (asked == "auto") {
    const Choosing choosing{.variable = "REPA_ATTENTION", .what = "attention", .key = key()};
    const std::string choice = measuredChoice(stream, device, choosing, [&] { return fastest(stream, runs); });
    const std::optional<AttentionKernel> kernel = kernelNamed(choice);
    if (!kernel || !runs(*kernel)) refuseChoice(choice, "attention's kernels for this GPU and these sizes");
    return *kernel;
  }
  const std::optional<AttentionKernel> wished = kernelNamed(asked);
  if (!asked.empty() && !wished)
    throw Error(ErrorCode::invalidArgument, "REPA_ATTENTION is \"" + asked + "\"; expected mma, mma-streamed, wgmma, wgmma-streamed or auto.");
  if (wished && isHoppers(*wished)) device.requireHopperFor("REPA_ATTENTION=" + asked);
  for (const AttentionKernel kernel : kKernels) {
    const bool isWanted = wished ? kernel >= *wished : !isHoppers(kernel) || (kernel == AttentionKernel::wgmma && timed);
    if (isWanted && runs(kernel)) return kernel;
  }
  throw Error(ErrorCode::shape, "none of attention's kernels takes " + key() + ".");
}

}  // namespace

void attention(cudaStream_t stream, const Tensor& qkv, int64_t heads, bool causal, const Tensor& o, const Tensor& lse) {
  const int64_t batch = qkv.size(0), tokens = qkv.size(1);
  if (o.elements() == 0) return;
  requireGrid(batch, tokens, heads);
  const int headDim = headDimOf(qkv, heads);
  withComputeType(qkv.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const AttentionForward<T> a{.qkv = elements<const T>(qkv),
                                .o = elements<T>(o),
                                .lse = lse.defined() ? lse.f32() : nullptr,
                                .batch = batch,
                                .tokens = static_cast<int>(tokens),
                                .heads = static_cast<int>(heads),
                                .headDim = headDim,
                                .scale = scaleOf(headDim),
                                .scaleLog2 = scaleOf(headDim) * kLog2E,
                                .aligned = rowsAligned<T>(headDim, elements<const T>(qkv), elements<const T>(o))};
    if constexpr (std::is_same_v<T, float>) {
      attentionF32(stream, a, causal);
    } else {
      const CudaDeviceInfo& device = static_cast<CudaDevice&>(o.device()).info();
      const auto key = [&] { return keyOf(causal ? "causal attention" : "attention", qkv.dtype(), a); };
      runAsAsked(stream, device, key, headDim == 64, [&](AttentionKernel kernel) { return run(stream, kernel, a, causal); });
    }
  });
}

bool attentionBackwardSums(const Tensor& qkv) { return qkv.dtype() != DType::f32; }

int64_t attentionBackwardScratchFloats(const Tensor& qkv, int64_t heads, bool sums) {
  const int64_t rows = streamedRowsOfBlock(headDimOf(qkv, heads)), parts = qkv.size(0) * ((qkv.size(1) + rows - 1) / rows);
  return 2 * qkv.size(0) * heads * qkv.size(1) + (sums ? parts * qkv.size(2) : 0);
}

void attentionBackward(cudaStream_t stream, const Tensor& dO, const Tensor& qkv, const Tensor& o, const Tensor& lse, int64_t heads,
                       float* scratch, const Tensor& dqkv, const std::optional<Tensor>& dBias, bool accumulate) {
  const int64_t batch = qkv.size(0), tokens = qkv.size(1);
  if (dqkv.elements() == 0) return;
  requireGrid(batch, tokens, heads);
  const int headDim = headDimOf(qkv, heads);
  float* const columnSums = dBias ? scratch + 2 * batch * heads * tokens : nullptr;
  withComputeType(qkv.dtype(), [&](auto tag) {
    using T = typename decltype(tag)::Type;
    const AttentionBackward<T> a{
        .qkv = elements<const T>(qkv),
        .o = elements<const T>(o),
        .lse = lse.f32(),
        .dO = elements<const T>(dO),
        .dqkv = elements<T>(dqkv),
        .columnSums = columnSums,
        .delta = scratch,
        .factor = scratch + batch * heads * tokens,
        .batch = batch,
        .tokens = static_cast<int>(tokens),
        .heads = static_cast<int>(heads),
        .headDim = headDim,
        .scale = scaleOf(headDim),
        .scaleLog2 = scaleOf(headDim) * kLog2E,
        .aligned = rowsAligned<T>(headDim, elements<const T>(qkv), elements<const T>(o), elements<const T>(dO), elements<const T>(dqkv))};
    if constexpr (std::is_same_v<T, float>) {
      attentionBackwardF32(stream, a);
    } else {
      const CudaDeviceInfo& device = static_cast<CudaDevice&>(qkv.device()).info();
      const auto key = [&] { return keyOf("attention's gradient", qkv.dtype(), a); };
      const AttentionKernel ran = runAsAsked(stream, device, key, true, [&](AttentionKernel kernel) { return run(stream, kernel, a); });
      const int64_t rows = isStreamed(ran) ? streamedRowsOfBlock(headDim) : tokens, parts = batch * ((tokens + rows - 1) / rows);
      if (!dBias) return;
      const PartialSums sums{
          .partials = columnSums, .groups = 1, .parts = parts, .out = dBias->f32(), .outStride = 0, .accumulate = accumulate};
      addPartialSums(stream, qkv.size(2), &sums, 1);
    }
  });
}

}  // namespace repa::cuda
