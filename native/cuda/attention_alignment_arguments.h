// What the kernels that compare two attentions are given. Which kernel runs is chosen in attention_alignment.cu.
#pragma once

#include "core/step_state.h"
#include "cuda/attention_arguments.h"
#include "cuda/attention_heads.cuh"

namespace repa::cuda {

/// Rows of a head that a block owns, queries or keys.
constexpr int alignedRowsOfBlock(bool isFloat32) { return isFloat32 ? 32 : 64; }

template <class T>
struct AttentionAlignment {
  const T* qkv;      // [B, T, 3, H, d]
  const T* teacher;  // [B, skipped + T, 3, teacherHeads, teacherDim]
  T* gradient;       // [B, T, 3, H, d], or null
  float* lse;        // scratch [2, B, aligned, T]: to the base 2, the model's and the teacher's
  double* losses;    // scratch [B, aligned, blocks]: sums over the queries of a block
  int64_t batch;
  int tokens, heads, headDim;
  int skipped, teacherHeads, teacherDim;
  int aligned;                       // heads that are compared
  float scaleLog2, teacherScaleLog2;  // headDim^(-1/2) log2 e
  float scale;
  float queryWeight;
  const StepState* state;
  bool areAligned;  // every head's row may be read and written in accesses of 16 bytes

  /// Of the dS that lie in a kernel's registers, in dQ and dK.
  __device__ __forceinline__ float factor() const { return scale * queryWeight * lossScaleOf(state); }
  __device__ __forceinline__ float* lseOf(const Head& at) const { return lse + int64_t{at.index} * tokens; }
  __device__ __forceinline__ float* teacherLseOf(const Head& at) const { return lseOf(at) + batch * aligned * tokens; }
};

template <class T>
__device__ __forceinline__ HeadRows<const T> ownRows(const AttentionAlignment<T>& a, const Head& at, QkvPart part) {
  return headOfQkv(a.qkv, at, part, a.tokens, a.heads, a.headDim);
}

/// From the first token that is compared on.
template <class T>
__device__ __forceinline__ HeadRows<const T> teacherRows(const AttentionAlignment<T>& a, const Head& at, QkvPart part) {
  const HeadRows<const T> all = headOfQkv(a.teacher, at, part, a.skipped + a.tokens, a.teacherHeads, a.teacherDim);
  return {all.row(a.skipped), all.stride};
}

template <class T>
__device__ __forceinline__ HeadRows<T> gradientRows(const AttentionAlignment<T>& a, const Head& at, QkvPart part) {
  return headOfQkv(a.gradient, at, part, a.tokens, a.heads, a.headDim);
}

void attentionAlignmentF32(cudaStream_t stream, const AttentionAlignment<float>& a);
template <class T>
void attentionAlignmentMma(cudaStream_t stream, const AttentionAlignment<T>& a);

}  // namespace repa::cuda
