// probes.h for wgmma.
#pragma once

#include "cuda/kernel.h"

namespace repa::cuda::test {

// Shared memory as given, byte for byte; registers are in and out[i * 128 + thread].

struct WgmmaProbe {
  int bytesA, bytesB;  // of the two operands' images
  unsigned leadingA, strideA, leadingB, strideB;
};

template <class T, int columns, Major majorA, Major majorB, Swizzle swizzleA, Swizzle swizzleB>
__global__ void __launch_bounds__(128)
    probeWgmma(WgmmaProbe probe, const unsigned char* inA, const unsigned char* inB, const float* inC, float* out) {
  REPA_DYNAMIC_SHARED(shared);
  unsigned char* tileB = shared + (probe.bytesA + 1023) / 1024 * 1024;
  for (int i = threadIdx.x; i < probe.bytesA; i += 128) shared[i] = inA[i];
  for (int i = threadIdx.x; i < probe.bytesB; i += 128) tileB[i] = inB[i];
  fenceProxyAsync();
  __syncthreads();
  float d[columns / 2];
  for (int i = 0; i < columns / 2; ++i) d[i] = inC[i * 128 + threadIdx.x];
  wgmmaFence();
  wgmma<T, columns, majorA, majorB>(d, matrixDescriptor(shared, probe.leadingA, probe.strideA, swizzleA),
                                    matrixDescriptor(tileB, probe.leadingB, probe.strideB, swizzleB));
  wgmmaCommit();
  wgmmaWait<0>();
  wgmmaHold(d);
  for (int i = 0; i < columns / 2; ++i) out[i * 128 + threadIdx.x] = d[i];
}

/// A in registers: in[r * 128 + thread]. Without the accumulators' old values if `fresh`.
template <class T, int columns, Major majorB, Swizzle swizzleB, bool fresh>
__global__ void __launch_bounds__(128)
    probeWgmmaRegisters(WgmmaProbe probe, const uint32_t* inA, const unsigned char* inB, const float* inC, float* out) {
  REPA_DYNAMIC_SHARED(shared);
  for (int i = threadIdx.x; i < probe.bytesB; i += 128) shared[i] = inB[i];
  fenceProxyAsync();
  __syncthreads();
  uint32_t a[4];
  for (int r = 0; r < 4; ++r) a[r] = inA[r * 128 + threadIdx.x];
  float d[columns / 2];
  for (int i = 0; i < columns / 2; ++i) d[i] = inC[i * 128 + threadIdx.x];
  wgmmaFence();
  wgmma<T, columns, majorB>(d, a, matrixDescriptor(shared, probe.leadingB, probe.strideB, swizzleB), !fresh);
  wgmmaCommit();
  wgmmaWait<0>();
  wgmmaHold(d);
  for (int i = 0; i < columns / 2; ++i) out[i * 128 + threadIdx.x] = d[i];
}

}  // namespace repa::cuda::test
