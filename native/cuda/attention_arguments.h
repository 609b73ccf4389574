// What attention's kernels are given. Which kernel runs is chosen in attention.cpp.
#pragma once

#include <cstdint>

#include "cuda/handles.h"

namespace repa::cuda {

template <class T>
struct AttentionForward {
  const T* qkv;  // [B, T, 3, H, d]
  T* o;          // [B, T, H, d]
  float* lse;    // [B, H, T], to the base 2; null when there will be no backward pass
  int64_t batch;
  int tokens;
  int heads;
  int headDim;
  float scale;      // headDim^(-1/2)
  float scaleLog2;  // the same times log2 e, for exponentials to the base 2
  bool aligned;     // every head's row may be read and written in accesses of 16 bytes
};

template <class T>
struct AttentionBackward {
  const T* qkv;       // [B, T, 3, H, d]
  const T* o;         // [B, T, H, d]
  const float* lse;   // [B, H, T], to the base 2
  const T* dO;        // [B, T, H, d]
  T* dqkv;            // [B, T, 3, H, d]
  float* columnSums;  // scratch [parts, 3, H, d], or null: the sums of dqkv's columns over the tokens of a sample or of a block of them
  float* delta;       // scratch [B, H, T]: sum over d of dO * o
  float* factor;      // scratch [B, H, T], in f32 only: what the exponentials of a row must be divided by to sum to one
  int64_t batch;
  int tokens;
  int heads;
  int headDim;
  float scale;
  float scaleLog2;
  bool aligned;
};

/// The tokens of a sample that a block of the streamed backward kernels owns.
constexpr int streamedRowsOfBlock(int headDim) { return headDim <= 72 ? 128 : 64; }

constexpr float kLog2E = 1.44269504088896341f;
constexpr float kLn2 = 0.693147180559945309f;

// f32, any size: attention_f32.cu.
void attentionF32(cudaStream_t stream, const AttentionForward<float>& a, bool causal);
void attentionBackwardF32(cudaStream_t stream, const AttentionBackward<float>& a);

// bf16 and f16 on a Hopper chip, with a whole head in shared memory or streamed; they refuse (false) what they are not made for.
template <class T>
bool attentionSm90(cudaStream_t stream, const AttentionForward<T>& a);
template <class T>
bool attentionStreamedSm90(cudaStream_t stream, const AttentionForward<T>& a);
template <class T>
bool attentionBackwardSm90(cudaStream_t stream, const AttentionBackward<T>& a);
template <class T>
bool attentionBackwardStreamedSm90(cudaStream_t stream, const AttentionBackward<T>& a);

// bf16 and f16. The resident kernels hold a whole head in shared memory and refuse (false) where it does not fit; the streamed ones take
// any size.
template <class T>
bool attentionResident(cudaStream_t stream, const AttentionForward<T>& a, bool causal);
template <class T>
void attentionStreamed(cudaStream_t stream, const AttentionForward<T>& a, bool causal);
// The backward kernels write one part of column sums for each sample, or for each block of a sample's tokens.
template <class T>
bool attentionBackwardResident(cudaStream_t stream, const AttentionBackward<T>& a);
template <class T>
void attentionBackwardStreamed(cudaStream_t stream, const AttentionBackward<T>& a);

}  // namespace repa::cuda
