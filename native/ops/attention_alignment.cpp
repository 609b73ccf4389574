#include "ops/attention_alignment.h"

#include "cpu/attention_alignment.h"
#include "cuda/attention_alignment.h"
#include "ops/elementwise.h"
#include "ops/packed_qkv.h"
#include "ops/require.h"
#include "ops/step_state_argument.h"

namespace repa::ops {

std::array<Tensor, 2> attentionAlignmentLoss(const Tensor& qkv, int64_t heads, const Tensor& teacher, int64_t teacherHeads, int64_t aligned,
                                             double weight, const std::optional<Tensor>& state, bool wantGradient) {
  const char* op = "attentionAlignmentLoss";
  const int64_t d = attentionHeadDim(op, "qkv", qkv, heads);
  requireDType(op, "teacher", teacher, qkv.dtype());
  const int64_t e = attentionHeadDim(op, "teacher", teacher, teacherHeads);
  const int64_t batch = qkv.size(0), tokens = qkv.size(1);
  require(batch > 0 && tokens > 0, op, "qkv has shape " + qkv.shape().text() + "; expected some samples and tokens.");
  require(teacher.size(0) == batch && teacher.size(1) >= tokens, op,
          "teacher has shape " + teacher.shape().text() + "; expected " + std::to_string(batch) + " samples of at least " + std::to_string(tokens) + " tokens.");
  require(aligned >= 1 && aligned <= heads && aligned <= teacherHeads, op,
          std::to_string(aligned) + " heads are to be compared of " + std::to_string(heads) + " and of " + std::to_string(teacherHeads) +
              "; expected at least one, and no more than there are.");
  const StepState* const scaling = stateOf(op, state);
  Device& device = qkv.device();
  const Tensor loss = Tensor::empty(device, {batch}, DType::f32, op);
  Tensor gradient;
  if (wantGradient) {
    gradient = Tensor::empty(device, qkv.shape(), qkv.dtype(), op);
    fill(gradient, 0);
  }
  cpu::AttentionAlignmentArgs args{.qkv = qkv.f32(), .teacher = teacher.f32(), .batch = batch, .tokens = tokens, .heads = heads, .headDim = d,
                                   .skipped = teacher.size(1) - tokens, .teacherHeads = teacherHeads, .teacherDim = e, .aligned = aligned,
                                   .queryWeight = static_cast<float>(weight / static_cast<double>(batch * aligned * tokens)), .state = scaling,
                                   .loss = loss.f32(), .gradient = wantGradient ? gradient.f32() : nullptr, .scratch = nullptr};
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(qkv)) {
      const Tensor scratch = scratchFloats(*cuda, cuda::attentionAlignmentScratchFloats(args), op);
      args.scratch = scratch.f32();
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::attentionAlignment(stream, args, qkv.dtype()); });
      return {loss, gradient};
    }
  CpuDevice& queue = cpuQueue(op, qkv);
  const Tensor scratch = scratchFloats(queue, cpu::attentionAlignmentKernels().scratchFloats(args, queue.threads()), op);
  args.scratch = scratch.f32();
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::attentionAlignmentKernels().align(pool, args); });
  return {loss, gradient};
}

}  // namespace repa::ops
