// Uses every wrapper of cuda/ptx.h once, so that compiling this file for sm_80 and for sm_90a shows that the device bodies assemble:
//     nvcc -std=c++20 -gencode arch=compute_90a,code=sm_90a -I native -c native/simt/test/ptx_compile_test.cu
#include "cuda/kernel.h"
#include "cuda/launch.h"

namespace repa::cuda {

__global__ void useAmpere(uint32_t* out, const void* global, float x) {
  REPA_DYNAMIC_SHARED(shared);
  float d[4] = {x, x, x, x};
  uint32_t r1[1], r2[2], r4[4];
  ldmatrix(r1, shared);
  ldmatrix(r2, shared);
  ldmatrix(r4, shared);
  mmaM16N8K16<bf16>(d, r4, r2);
  mmaM16N8K16<f16>(d, r4, r2);
  mmaM16N8K8<bf16>(d, r2, r1);
  mmaM16N8K8<f16>(d, r2, r1);
  ldmatrixTransposed(r1, shared);
  ldmatrixTransposed(r2, shared);
  ldmatrixTransposed(r4, shared);
  r1[0] += roundToTf32(x);
  mmaM16N8K8Tf32(d, r4, r2);
  cpAsync<4>(shared, global);
  cpAsync<8>(shared, global, 4);
  cpAsync<16>(shared, global, 0);
  cpAsyncCommit();
  cpAsyncWait<1>();
  namedBarrierArrive(1, 64);
  namedBarrierSync(1, 64);
  const uint4 read = loadGlobalReadOnly(global);
  const uint32_t one[1] = {read.x}, two[2] = {read.y, read.z}, four[4] = {read.w, r1[0], r4[3], r2[1]};
  storeGlobal(out, four);
  storeGlobal(out + 6, two);
  storeGlobal(out + 8, one);
  const FloatPair pair = unpack2<bf16>(pack2<f16>(exp2Approx(x) + log2Approx(x), tanhApprox(x) + reciprocalApprox(x)));
  out[4] = pack2<bf16>(pair.lo, pair.hi) + fromFloat<f16>(d[0]).bits + fromFloat<bf16>(d[1]).bits;
  out[5] = __float2int_rn(toFloat(f16{static_cast<uint16_t>(r1[0])}) + toFloat(bf16{static_cast<uint16_t>(r2[0])}));
}

__global__ void __launch_bounds__(128, 1) useHopper(uint32_t* out, const __grid_constant__ CUtensorMap map) {
  REPA_DYNAMIC_SHARED(shared);
  auto* barrier = reinterpret_cast<uint64_t*>(shared + 8192);
  const uint32_t r2[2] = {1, 2}, r4[4] = {1, 2, 3, 4};
  stmatrix(shared, r2);
  stmatrix(shared, r4);
  stmatrixTransposed(shared, r2);
  stmatrixTransposed(shared, r4);
  gridDependencyWait();
  gridDependencyLaunch();
  increaseRegisters<240>();
  decreaseRegisters<40>();
  if (electOne()) {
    tmaPrefetchMap(&map);
    mbarrierInit(barrier, 1);
    fenceMbarrierInit();
    fenceProxyAsync();
    mbarrierExpect(barrier, 128);
    mbarrierArriveExpect(barrier, 128);
    mbarrierArrive(barrier);
    tmaLoad(shared, &map, barrier, {0, 1});
    tmaLoad(shared, &map, barrier, {0, 1, 2}, L2Hint::evictFirst);
    tmaLoad(shared, &map, barrier, {0, 1, 2, 3}, L2Hint::evictLast);
    tmaLoadMulticast(shared, &map, barrier, {0, 1}, 3);
    tmaLoadMulticast(shared, &map, barrier, {0, 1, 2}, 3);
    tmaLoadMulticast(shared, &map, barrier, {0, 1, 2, 3}, 3, L2Hint::evictFirst);
    tmaStore(&map, shared, {0, 1});
    tmaStore(&map, shared, {0, 1, 2});
    tmaStore(&map, shared, {0, 1, 2, 3});
    bulkCommit();
    bulkWaitRead<1>();
    bulkWait<0>();
  }
  if (!mbarrierTryWait(barrier, 1)) mbarrierWait(barrier, 0);
  mbarrierInvalidate(barrier);
  clusterArrive();
  clusterWait();
  const ClusterAddress there = clusterMap(shared, (clusterRank() + 1) % clusterBlocks());
  clusterStoreFloat(there, clusterLoadFloat(there) + clusterLoadFloat4(there).w);
  clusterStoreAsync(there, clusterLoad(there), clusterMap(barrier, 0));
  clusterMbarrierArrive(clusterMap(barrier, 0));
  out[threadIdx.x] = r2[0];
}

template <class T, int columns, Major majorA, Major majorB>
__global__ void __launch_bounds__(128) useWgmma(float* out) {
  REPA_DYNAMIC_SHARED(shared);
  float d[columns / 2] = {};
  const uint32_t a[4] = {threadIdx.x, 0, 0, 0};
  const MatrixDescriptor descriptor = matrixDescriptor(shared, 4096, 1024, Swizzle::bytes128);
  wgmmaFence();
  wgmma<T, columns, majorA, majorB>(d, descriptor, advance(descriptor, 32), false);
  if constexpr (majorA == Major::k) wgmma<T, columns, majorB>(d, a, descriptor);
  wgmmaCommit();
  wgmmaWait<0>();
  wgmmaHold(d);
  for (int i = 0; i < columns / 2; ++i) out[i * 128 + threadIdx.x] = d[i];
}

template <class T, int columns>
void useWgmmas(cudaStream_t stream, float* out) {
  const LaunchShape shape = {.grid = 1, .block = 128, .sharedBytes = 65536};
  launch(stream, useWgmma<T, columns, Major::k, Major::k>, shape, out);
  if constexpr (columns % 64 == 0) {
    launch(stream, useWgmma<T, columns, Major::k, Major::mn>, shape, out);
    launch(stream, useWgmma<T, columns, Major::mn, Major::k>, shape, out);
    launch(stream, useWgmma<T, columns, Major::mn, Major::mn>, shape, out);
  }
}

template <class T, int... columns>
void useAllWgmmas(cudaStream_t stream, float* out) {
  (useWgmmas<T, columns>(stream, out), ...);
}

void useAll(cudaStream_t stream, void* memory, const CUtensorMap& map) {
  auto* words = static_cast<uint32_t*>(memory);
  launch(stream, useAmpere, LaunchShape{.grid = 1, .block = 64, .sharedBytes = 1024}, words, memory, 1.0f);
  launch(stream, useHopper, LaunchShape{.grid = 2, .block = 128, .sharedBytes = 65536, .cluster = 2}, words, map);
  auto* out = static_cast<float*>(memory);
  useAllWgmmas<bf16, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 144, 160, 176, 192, 208, 224, 240, 256>(stream,
                                                                                                                                out);
  useAllWgmmas<f16, 8, 16, 24, 32, 40, 48, 56, 64, 72, 80, 88, 96, 104, 112, 120, 128, 144, 160, 176, 192, 208, 224, 240, 256>(stream, out);
}

}  // namespace repa::cuda
