// How far a model's attention is from a teacher's: which kernels run, FMAs for f32 and tensor cores for bf16 and f16, and the mean of what
// their blocks have summed.
#include "cuda/attention_alignment.h"

#include <cmath>

#include "cuda/attention_alignment_arguments.h"
#include "cuda/block_sum.h"
#include "cuda/dtype_switch.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 128;

/// A block a sample.
__global__ void __launch_bounds__(kThreads) meanLossKernel(const double* losses, int parts, double count, float* loss) {
  double sum = 0;
  for (int i = threadIdx.x; i < parts; i += kThreads) sum += losses[int64_t{blockIdx.x} * parts + i];
  sum = blockSum<kThreads>(sum);
  if (threadIdx.x == 0) loss[blockIdx.x] = static_cast<float>(sum / count);
}

/// Of the blocks with the fewest rows, which serve any dtype.
int64_t mostParts(const cpu::AttentionAlignmentArgs& args) {
  constexpr int64_t rows = alignedRowsOfBlock(true);
  return args.aligned * ((args.tokens + rows - 1) / rows);
}

float scaleOf(int64_t headDim) { return 1.0f / std::sqrt(static_cast<float>(headDim)); }

}  // namespace

int64_t attentionAlignmentScratchFloats(const cpu::AttentionAlignmentArgs& args) {
  return 2 * args.batch * mostParts(args) + 2 * args.batch * args.aligned * args.tokens;
}

void attentionAlignment(cudaStream_t stream, const cpu::AttentionAlignmentArgs& args, DType dtype) {
  double* const losses = reinterpret_cast<double*>(args.scratch);
  withComputeType(dtype, [&](auto tag) {
    using T = typename decltype(tag)::Type;
    constexpr int unit = 16 / sizeof(T);
    const T* const qkv = reinterpret_cast<const T*>(args.qkv);
    const T* const teacher = reinterpret_cast<const T*>(args.teacher);
    T* const gradient = reinterpret_cast<T*>(args.gradient);
    const AttentionAlignment<T> a{
        .qkv = qkv,
        .teacher = teacher,
        .gradient = gradient,
        .lse = args.scratch + 2 * args.batch * mostParts(args),
        .losses = losses,
        .batch = args.batch,
        .tokens = static_cast<int>(args.tokens),
        .heads = static_cast<int>(args.heads),
        .headDim = static_cast<int>(args.headDim),
        .skipped = static_cast<int>(args.skipped),
        .teacherHeads = static_cast<int>(args.teacherHeads),
        .teacherDim = static_cast<int>(args.teacherDim),
        .aligned = static_cast<int>(args.aligned),
        .scaleLog2 = scaleOf(args.headDim) * kLog2E,
        .teacherScaleLog2 = scaleOf(args.teacherDim) * kLog2E,
        .scale = scaleOf(args.headDim),
        .queryWeight = args.queryWeight,
        .state = args.state,
        .areAligned = args.headDim % unit == 0 && args.teacherDim % unit == 0 && aligned16(qkv, teacher, gradient)};
    if constexpr (std::is_same_v<T, float>) attentionAlignmentF32(stream, a);
    else attentionAlignmentMma(stream, a);
    constexpr int rows = alignedRowsOfBlock(std::is_same_v<T, float>);
    const int parts = a.aligned * ((a.tokens + rows - 1) / rows);
    launch(stream, meanLossKernel, {.grid = dim3(static_cast<unsigned>(a.batch)), .block = dim3(kThreads)}, losses, parts,
           static_cast<double>(args.aligned * args.tokens), args.loss);
  });
}

}  // namespace repa::cuda
