// probes.h for the tiles of attention's kernels of sm_90a (attention_tile_sm90.cuh), in the very form that the kernels have them: 72 columns
// as lines and a tail, at the very places that the backward pass has them, with zeros at the other end of shared memory; and what the streamed
// ones make of them, for each number of columns.
#pragma once

#include "cuda/attention_tile_sm90.cuh"
#include "cuda/kernel.h"

namespace repa::cuda::test {

constexpr int kProbeRows = 256, kProbeColumns = 72, kProbeBlock = 64;
constexpr int kProbeTile = kTileElements<kProbeRows, kProbeColumns>, kProbeScorePitch = 8 * kProbeRows;
constexpr int kProbeZerosAt = 6 * kProbeTile, kProbeZeros = kTail * kProbeBlock;
constexpr size_t kProbeBarrierAt = 2 * (kProbeZerosAt + kProbeZeros);
constexpr size_t kProbeAttentionBytes = kProbeBarrierAt + sizeof(uint64_t);
/// Of a thread: scores, then their product with rows from registers, then with rows from shared memory.
constexpr int kProbeSums = kProbeBlock / 2 + 2 * (kProbeColumns / 2);

/// x [2, tokens, 3 * 72] has in its first 72 columns what is K and in the next what is Q. Sᵀ = K Qᵀ of 64 keys and 64 queries; Sᵀ Q; S K of the
/// 64 keys, by way of shared memory; and that one, divided by 1024, stored to the last 72 columns, as three times 64 rows, of which one of the
/// last is a token. Registers are out[i * 128 + thread].
template <class T>
__global__ void __launch_bounds__(128, 1) probeAttentionTiles(const __grid_constant__ RowMaps half, const __grid_constant__ RowMaps block,
                                                              float* out) {
  REPA_DYNAMIC_SHARED(shared);
  T* const k = reinterpret_cast<T*>(shared);
  T* const q = k + 2 * kProbeTile;
  T* const scores = k + 4 * kProbeTile;
  T* const zeros = k + kProbeZerosAt;
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + kProbeBarrierAt);
  const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
  if (thread == 0) {
    mbarrierInit(full, 1);
    fenceMbarrierInit();
  }
  for (int i = thread; i < kProbeZeros; i += 128) zeros[i] = T{};
  fenceProxyAsync();
  __syncthreads();
  if (thread == 0) {
    // Bytes may land before they are expected.
    for (int row = 0; row < kProbeRows; row += kProbeBlock) loadBox<kProbeRows, kProbeColumns>(q, row, block, full, kProbeColumns, row, 1);
    mbarrierArriveExpect(full, sizeof(T) * 2 * kProbeTile);
    for (int row = 0; row < kProbeRows; row += 128) loadBox<kProbeRows, kProbeColumns>(k, row, half, full, 0, row, 1);
  }
  mbarrierWait(full, 0);

  float s[kProbeBlock / 2], ofRegisters[kProbeColumns / 2], ofShared[1][kProbeColumns / 2];
  wgmmaFence();
  multiplyTransposed<T, kProbeRows, kProbeColumns, kProbeBlock>(s, k, kProbeBlock, q, kProbeBlock, zeros);
  wgmmaCommit();
  wgmmaWait<0>();
  wgmmaHold(s);
  uint32_t left[kProbeBlock / 16][4];
#pragma unroll
  for (int step = 0; step < kProbeBlock / 16; ++step) roundToLeft<T>(left[step], tilesOf(s)[2 * step], tilesOf(s)[2 * step + 1]);
  const auto queries = sixteenRows<kProbeRows, kProbeColumns>(q, kProbeBlock);
  const auto keys = sixteenRows<kProbeRows, kProbeColumns>(k, kProbeBlock);
  wgmmaFence();
#pragma unroll
  for (int step = 0; step < kProbeBlock / 16; ++step)
    multiplyRows<T, kProbeColumns>(ofRegisters, left[step], queries + 16 * step, step > 0);
  wgmmaCommit();
  T* const to = scores + lane / 16 * kProbeScorePitch + (16 * warp + lane % 16) * 8;
#pragma unroll
  for (int step = 0; step < kProbeBlock / 16; ++step) stmatrix(to + 2 * step * kProbeScorePitch, left[step]);
  fenceProxyAsync();
  namedBarrierSync(1, 128);
  const MatrixDescriptor scoresOfKeys = matrixDescriptor(scores, 128, kProbeScorePitch * sizeof(T), Swizzle::none);
  wgmmaFence();
#pragma unroll
  for (int key = 0; key < kProbeBlock; key += 16)
    multiplyRows<T, kProbeColumns>(ofShared[0], advance(scoresOfKeys, 16 * key), keys + key, key > 0);
  wgmmaCommit();
  wgmmaWait<0>();
  wgmmaHold(ofRegisters);
  wgmmaHold(ofShared[0]);

  namedBarrierSync(1, 128);
  stageRows<kProbeBlock, kProbeColumns>(scores, 0, tilesOf(ofShared[0]), 0x1p-10f);
  fenceProxyAsync();
  namedBarrierSync(1, 128);
  if (thread == 0) {
    for (int row = 0; row < 3 * kProbeBlock; row += kProbeBlock)
      storeBox<kProbeBlock, kProbeColumns>(scores, 0, block, 2 * kProbeColumns, row, 1);
    bulkCommit();
    bulkWaitRead<0>();
  }
  for (int i = 0; i < kProbeBlock / 2; ++i) out[i * 128 + thread] = s[i];
  for (int i = 0; i < kProbeColumns / 2; ++i) {
    out[(kProbeBlock / 2 + i) * 128 + thread] = ofRegisters[i];
    out[(kProbeBlock / 2 + kProbeColumns / 2 + i) * 128 + thread] = ofShared[0][i];
  }
}

/// A tile that stays, a piece that passes by, zeros, the barrier.
template <int kColumns>
constexpr int kProbePieceAt = kTileElements<2 * kProbeBlock, kColumns>;
template <int kColumns>
constexpr int kProbeStreamedZerosAt = kProbePieceAt<kColumns> + kTileElements<kProbeBlock, kColumns>;
template <int kColumns>
constexpr size_t kProbeStreamedBytes = 2 * (kProbeStreamedZerosAt<kColumns> + kProbeZeros) + sizeof(uint64_t);

/// x [2, tokens, 2 * columns] has in its first columns what stays and in the next what passes by. S = A Bᵀ of the second 64 rows of what stays,
/// as left operands in registers, and the first 64 of what passes by; and S B. Registers are out[i * 128 + thread].
template <class T, int kColumns>
__global__ void __launch_bounds__(128, 1) probeStreamedTiles(const __grid_constant__ RowMaps rows, const __grid_constant__ RowMaps piece,
                                                             float* out) {
  REPA_DYNAMIC_SHARED(shared);
  T* const own = reinterpret_cast<T*>(shared);
  T* const passing = own + kProbePieceAt<kColumns>;
  T* const zeros = own + kProbeStreamedZerosAt<kColumns>;
  uint64_t* const full = reinterpret_cast<uint64_t*>(zeros + kProbeZeros);
  const int thread = threadIdx.x;
  if (thread == 0) {
    mbarrierInit(full, 1);
    fenceMbarrierInit();
  }
  for (int i = thread; i < kProbeZeros; i += 128) zeros[i] = T{};
  fenceProxyAsync();
  __syncthreads();
  if (thread == 0) {
    mbarrierArriveExpect(full, sizeof(T) * kProbeStreamedZerosAt<kColumns>);
    loadBox<2 * kProbeBlock, kColumns>(own, 0, rows, full, 0, 0, 1);
    loadBox<kProbeBlock, kColumns>(passing, 0, piece, full, kColumns, 0, 1);
  }
  mbarrierWait(full, 0);
  LeftOperands<kColumns> left;
  left.template load<2 * kProbeBlock>(own, kProbeBlock);
  float s[kProbeBlock / 2], sum[kColumns / 2];
  wgmmaFence();
  multiplyTransposed<T, kProbeBlock, kColumns, kProbeBlock>(s, left, passing, 0, zeros);
  wgmmaCommit();
  wgmmaWait<0>();
  wgmmaHold(s);
  uint32_t rounded[kProbeBlock / 16][4];
#pragma unroll
  for (int step = 0; step < kProbeBlock / 16; ++step) roundToLeft<T>(rounded[step], tilesOf(s)[2 * step], tilesOf(s)[2 * step + 1]);
  const auto right = sixteenRows<kProbeBlock, kColumns>(passing, 0);
  wgmmaFence();
#pragma unroll
  for (int step = 0; step < kProbeBlock / 16; ++step) multiplyRows<T, kColumns>(sum, rounded[step], right + 16 * step, step > 0);
  wgmmaCommit();
  wgmmaWait<0>();
  wgmmaHold(sum);
  for (int i = 0; i < kProbeBlock / 2; ++i) out[i * 128 + thread] = s[i];
  for (int i = 0; i < kColumns / 2; ++i) out[(kProbeBlock / 2 + i) * 128 + thread] = sum[i];
}

}  // namespace repa::cuda::test
