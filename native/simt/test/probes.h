// One kernel for each wrapper of cuda/ptx.h: it takes bits from global memory, executes the instruction and writes back what came of it.
// The shim's tests compare with what the manual says, conformance.cu compares the shim with a chip.
#pragma once

#include <cuda.h>

#include "cuda/kernel.h"
#include "cuda/ptx_prefetch.h"

namespace repa::cuda::test {

// ---- Fragments. in: matrices of 8 x 8 16-bit elements; registers are out[r * 32 + lane].

constexpr int probePitch = 24;  // elements from one row to the next in shared memory

template <int count, bool transposed>
__global__ void probeLdmatrix(const uint16_t* in, uint32_t* out) {
  __shared__ __align__(16) uint16_t tile[8 * count][probePitch];
  const int lane = threadIdx.x;
  for (int i = lane; i < 64 * count; i += 32) tile[i / 8][i % 8] = in[i];
  __syncwarp();
  uint32_t r[count];
  const void* row = tile[lane % (8 * count)];
  if constexpr (transposed) ldmatrixTransposed(r, row);
  else ldmatrix(r, row);
  for (int m = 0; m < count; ++m) out[m * 32 + lane] = r[m];
}

template <int count, bool transposed>
__global__ void probeStmatrix(const uint32_t* in, uint16_t* out) {
  __shared__ __align__(16) uint16_t tile[8 * count][probePitch];
  const int lane = threadIdx.x;
  uint32_t r[count];
  for (int m = 0; m < count; ++m) r[m] = in[m * 32 + lane];
  void* row = tile[lane % (8 * count)];
  if constexpr (transposed) stmatrixTransposed(row, r);
  else stmatrix(row, r);
  __syncwarp();
  for (int i = lane; i < 64 * count; i += 32) out[i] = tile[i / 8][i % 8];
}

enum class Product { bf16K16, f16K16, bf16K8, f16K8, tf32K8 };

template <Product product>
__global__ void probeMma(const uint32_t* inA, const uint32_t* inB, const float* inC, float* out) {
  constexpr bool k16 = product == Product::bf16K16 || product == Product::f16K16;
  constexpr bool tf32 = product == Product::tf32K8;
  constexpr int registersA = k16 || tf32 ? 4 : 2;
  const int lane = threadIdx.x;
  uint32_t a[registersA], b[registersA / 2];
  float d[4];
  for (int r = 0; r < registersA; ++r) a[r] = inA[r * 32 + lane];
  for (int r = 0; r < registersA / 2; ++r) b[r] = inB[r * 32 + lane];
  for (int r = 0; r < 4; ++r) d[r] = inC[r * 32 + lane];
  if constexpr (product == Product::bf16K16) mmaM16N8K16<bf16>(d, a, b);
  if constexpr (product == Product::f16K16) mmaM16N8K16<f16>(d, a, b);
  if constexpr (product == Product::bf16K8) mmaM16N8K8<bf16>(d, a, b);
  if constexpr (product == Product::f16K8) mmaM16N8K8<f16>(d, a, b);
  if constexpr (product == Product::tf32K8) mmaM16N8K8Tf32(d, a, b);
  for (int r = 0; r < 4; ++r) out[r * 32 + lane] = d[r];
}

// ---- st.global: a lane stores its words.

template <int count>
__global__ void probeStoreGlobal(const uint32_t* in, uint32_t* out) {
  uint32_t words[count];
  for (int i = 0; i < count; ++i) words[i] = in[count * threadIdx.x + i];
  storeGlobal(out + count * threadIdx.x, words);
}

// ---- cp.async: lane i copies its piece, i bytes of which (at most `bytes`) come from memory.

template <int bytes>
__global__ void probeCpAsync(const unsigned char* in, unsigned char* out) {
  __shared__ __align__(16) unsigned char tile[32 * bytes];
  const int lane = threadIdx.x;
  cpAsync<bytes>(tile + lane * bytes, in + lane * bytes, lane < bytes ? lane : bytes);
  cpAsyncCommit();
  cpAsyncWait<0>();
  for (int i = 0; i < bytes; ++i) out[lane * bytes + i] = tile[lane * bytes + i];
}

// ---- Between lanes.

__global__ void probeShuffles(const uint32_t* in, uint32_t* out) {
  const int lane = threadIdx.x;
  const uint32_t value = in[lane];
  uint32_t* o = out + lane;
  o[0 * 32] = __shfl_sync(0xffffffffu, value, (lane * 7 + 3) % 32);
  o[1 * 32] = __shfl_xor_sync(0xffffffffu, value, 5);
  o[2 * 32] = __shfl_up_sync(0xffffffffu, value, 3);
  o[3 * 32] = __shfl_down_sync(0xffffffffu, value, 3);
  o[4 * 32] = __shfl_sync(0xffffffffu, value, 2, 8);
  o[5 * 32] = __shfl_xor_sync(0xffffffffu, value, 6, 8);
  o[6 * 32] = __shfl_down_sync(0xffffffffu, value, 2, 8);
  o[7 * 32] = __ballot_sync(0xffffffffu, value & 1);
  o[8 * 32] = __any_sync(0xffffffffu, lane == 31) * 2 + __all_sync(0xffffffffu, lane < 32);
  // Two halves, each on its own.
  const uint32_t half = lane < 16 ? 0x0000ffffu : 0xffff0000u;
  o[9 * 32] = __shfl_xor_sync(half, value, 1);
  o[10 * 32] = __ballot_sync(half, value & 2);
}

// ---- Arithmetic that is exact by definition, and approximations.

__global__ void probeConversions(const float* in, uint32_t* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float x = in[i], y = in[(i + 1) % n];
  uint32_t* o = out + i;
  o[0 * n] = fromFloat<bf16>(x).bits | static_cast<uint32_t>(fromFloat<f16>(x).bits) << 16;
  o[1 * n] = pack2<bf16>(x, y);
  o[2 * n] = pack2<f16>(x, y);
  o[3 * n] = __float_as_uint(toFloat(f16{static_cast<uint16_t>(__float_as_uint(x))}));
  o[4 * n] = __float_as_uint(toFloat(bf16{static_cast<uint16_t>(__float_as_uint(x))}));
  o[5 * n] = roundToTf32(x);
  o[6 * n] = static_cast<uint32_t>(__float2int_rn(x));
  o[7 * n] = __umulhi(__float_as_uint(x), __float_as_uint(y));
  o[8 * n] = static_cast<uint32_t>(__clzll(static_cast<long long>(__float_as_uint(x)) << 7));
  o[9 * n] = __float_as_uint(__fsqrt_rn(fabsf(x)));
  o[10 * n] = __float_as_uint(__fmul_rn(x, y));
  o[11 * n] = __float_as_uint(__fmaf_rn(x, y, 1.0f));
}
constexpr int conversions = 12;

__global__ void probeApproximations(const float* in, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float x = in[i];
  float* o = out + i;
  o[0 * n] = exp2Approx(x);
  o[1 * n] = log2Approx(fabsf(x));
  o[2 * n] = tanhApprox(x);
  o[3 * n] = reciprocalApprox(x);
  o[4 * n] = rsqrtf(fabsf(x));
  o[5 * n] = __expf(x);
  o[6 * n] = __fdividef(1.5f, x);
  o[7 * n] = exp2f(x);
  o[8 * n] = erff(x);
  o[9 * n] = tanhf(x);
}
constexpr int approximations = 10;

// ---- The TMA. Shared memory is dumped byte for byte.

template <int rank>
struct Coordinates {
  int at[rank];
};

template <int rank>
__global__ void probeTmaLoad(const __grid_constant__ CUtensorMap map, Coordinates<rank> coordinates, unsigned char* out, int bytes) {
  REPA_DYNAMIC_SHARED(shared);
  auto* barrier = reinterpret_cast<uint64_t*>(shared + bytes);
  if (threadIdx.x == 0) {
    mbarrierInit(barrier, 1);
    fenceMbarrierInit();
  }
  __syncthreads();
  if (threadIdx.x == 0) {
    mbarrierArriveExpect(barrier, bytes);
    tmaLoad(shared, &map, barrier, coordinates.at);
  }
  mbarrierWait(barrier, 0);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) out[i] = shared[i];
}

template <int rank>
__global__ void probeTmaStore(const __grid_constant__ CUtensorMap map, Coordinates<rank> coordinates, const unsigned char* in, int bytes) {
  REPA_DYNAMIC_SHARED(shared);
  for (int i = threadIdx.x; i < bytes; i += blockDim.x) shared[i] = in[i];
  fenceProxyAsync();
  __syncthreads();
  if (threadIdx.x == 0) {
    tmaStore(&map, shared, coordinates.at);
    bulkCommit();
    bulkWait<0>();
  }
}

// ---- What Hopper's kernels have beside: registers that change hands, barriers that one side only arrives at, a prefetch.

/// Of three warpgroups the last gives its registers to the others, which wait for what it has read.
__global__ void __launch_bounds__(384, 1) probeWarpgroups(const float* in, float* out) {
  __shared__ float handed[128];
  const int thread = threadIdx.x;
  if (thread >= 256) {
    decreaseRegisters<24>();
    prefetchToL2(in, 512);
    handed[thread - 256] = in[thread - 256];
    namedBarrierArrive(1, 384);
    return;
  }
  increaseRegisters<240>();
  namedBarrierSync(1, 384);
  out[thread] = handed[thread % 128] + static_cast<float>(thread / 128);
}

// ---- Clusters of two blocks of 32 threads.

/// Each block reads what the other one wrote, sends it a word by st.async, and gets a tile that only block 0 loads.
__global__ void __launch_bounds__(32) probeCluster(const __grid_constant__ CUtensorMap map, const float* in, float* out, int tileBytes) {
  REPA_DYNAMIC_SHARED(shared);
  auto* values = reinterpret_cast<float*>(shared + tileBytes);
  auto* mail = reinterpret_cast<uint32_t*>(values + 32);
  auto* barriers = reinterpret_cast<uint64_t*>(mail + 32);
  const unsigned rank = clusterRank(), other = rank ^ 1;
  const int lane = threadIdx.x;
  values[lane] = in[blockIdx.x * 32 + lane];
  if (lane == 0) {
    mbarrierInit(&barriers[0], 1);
    mbarrierInit(&barriers[1], 1);
    fenceMbarrierInit();
    mbarrierArriveExpect(&barriers[0], tileBytes);
    mbarrierArriveExpect(&barriers[1], 32 * sizeof(uint32_t));
  }
  __syncwarp();
  clusterArrive();
  clusterWait();
  if (rank == 0 && lane == 0) tmaLoadMulticast(shared, &map, &barriers[0], {0, 0}, 3);
  clusterStoreAsync(clusterMap(&mail[lane], other), __float_as_uint(values[lane]) + lane, clusterMap(&barriers[1], other));
  const float remote = clusterLoadFloat(clusterMap(&values[31 - lane], other));
  const float4 four = clusterLoadFloat4(clusterMap(&values[lane / 4 * 4], other));
  mbarrierWait(&barriers[0], 0);
  mbarrierWait(&barriers[1], 0);
  float* o = out + blockIdx.x * 32 + lane;
  const int row = gridDim.x * 32;
  o[0] = remote;
  o[row] = four.x + four.w;
  o[2 * row] = __uint_as_float(mail[lane]);
  o[3 * row] = static_cast<float>(shared[lane]);
  clusterArrive();
  clusterWait();
}

}  // namespace repa::cuda::test
