// Instructions from sm_80 on. Included by ptx.h.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/float16.h"

namespace repa::cuda {

/// The 32-bit address by which instructions name shared memory.
__device__ __forceinline__ uint32_t sharedAddress(const void* pointer) { return static_cast<uint32_t>(__cvta_generic_to_shared(pointer)); }

// ---- Matrix products of a warp, d += a b. 9.7.14.5.
//
// Lane 4 g + t holds, of the 16 x 8 accumulator, rows g (d[0], d[1]) and g + 8 (d[2], d[3]), columns 2 t and 2 t + 1.

/// m16n8k16. a[r]: row g + 8 (r & 1), columns 2 t + 8 (r >> 1) and the next. b[r]: column g, rows 2 t + 8 r and the next.
template <class T>
__device__ __forceinline__ void mmaM16N8K16(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]);

template <>
__device__ __forceinline__ void mmaM16N8K16<bf16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

template <>
__device__ __forceinline__ void mmaM16N8K16<f16>(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

/// m16n8k8. a[r]: row g + 8 r, columns 2 t and 2 t + 1. b[0]: column g, rows 2 t and 2 t + 1.
template <class T>
__device__ __forceinline__ void mmaM16N8K8(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[1]);

template <>
__device__ __forceinline__ void mmaM16N8K8<bf16>(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[1]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}

template <>
__device__ __forceinline__ void mmaM16N8K8<f16>(float (&d)[4], const uint32_t (&a)[2], const uint32_t (&b)[1]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}

/// A float rounded to tf32's 10 bits of significand, ties away from zero: what mmaM16N8K8Tf32 takes.
__device__ __forceinline__ uint32_t roundToTf32(float x) {
  uint32_t result;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(result) : "f"(x));
  return result;
}

/// m16n8k8 of tf32. a: rows g, g + 8, g, g + 8 in columns t, t, t + 4, t + 4. b: column g, rows t and t + 4.
__device__ __forceinline__ void mmaM16N8K8Tf32(float (&d)[4], const uint32_t (&a)[4], const uint32_t (&b)[2]) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// ---- 8 x 8 matrices of 16-bit elements from shared memory. 9.7.14.5.15.
//
// Lanes 8 m .. 8 m + 7 give the addresses of matrix m's rows, 16 bytes each. r[m] of lane 4 g + t: row g, columns 2 t and 2 t + 1;
// transposed: rows 2 t and 2 t + 1 of column g.

__device__ __forceinline__ void ldmatrix(uint32_t (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(sharedAddress(row)) : "memory");
}
__device__ __forceinline__ void ldmatrix(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(sharedAddress(row)) : "memory");
}
__device__ __forceinline__ void ldmatrix(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(sharedAddress(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrixTransposed(uint32_t (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(sharedAddress(row)) : "memory");
}
__device__ __forceinline__ void ldmatrixTransposed(uint32_t (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];"
               : "=r"(r[0]), "=r"(r[1])
               : "r"(sharedAddress(row))
               : "memory");
}
__device__ __forceinline__ void ldmatrixTransposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(sharedAddress(row))
               : "memory");
}

// ---- Asynchronous copies from global to shared memory. 9.7.9.25.3.

/// Copies `sourceBytes` of the `bytes` at `global` and fills the rest with zeros; both addresses are multiples of `bytes`. With
/// sourceBytes = 0 nothing is read, but `global` must still be an address.
template <int bytes>
__device__ __forceinline__ void cpAsync(void* shared, const void* global, int sourceBytes = bytes) {
  static_assert(bytes == 4 || bytes == 8 || bytes == 16, "cp.async copies 4, 8 or 16 bytes");
  if constexpr (bytes == 16) {
    // .cg: through L2 alone; the only form of 16 bytes that leaves L1 to others.
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(sharedAddress(shared)), "l"(global), "r"(sourceBytes) : "memory");
  } else {
    asm volatile("cp.async.ca.shared.global [%0], [%1], %2, %3;" ::"r"(sharedAddress(shared)), "l"(global), "n"(bytes), "r"(sourceBytes)
                 : "memory");
  }
}

__device__ __forceinline__ void cpAsyncCommit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

/// Returns when at most the `newest` latest groups of this thread are still under way. Others see the data after a barrier.
template <int newest>
__device__ __forceinline__ void cpAsyncWait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(newest) : "memory");
}

// ---- Approximations, one instruction each. 9.7.3.

/// 2^x, to 2 ulp; subnormal results are zero.
__device__ __forceinline__ float exp2Approx(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// log2 x, absolute error 2^-22 near 1.
__device__ __forceinline__ float log2Approx(float x) {
  float result;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// tanh x, relative error 2^-11.
__device__ __forceinline__ float tanhApprox(float x) {
  float result;
  asm("tanh.approx.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

/// 1 / x, to 1 ulp.
__device__ __forceinline__ float reciprocalApprox(float x) {
  float result;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}

// ---- Global memory, up to 16 bytes at once. 9.7.9.

/// Through the read-only path: nobody writes this memory while the kernel runs.
__device__ __forceinline__ uint4 loadGlobalReadOnly(const void* global) {
  uint4 value;
  asm volatile("ld.global.nc.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w) : "l"(global));
  return value;
}

/// So many words to an address that is aligned to them.
__device__ __forceinline__ void storeGlobal(void* global, const uint32_t (&words)[1]) {
  asm volatile("st.global.u32 [%0], %1;" ::"l"(global), "r"(words[0]) : "memory");
}
__device__ __forceinline__ void storeGlobal(void* global, const uint32_t (&words)[2]) {
  asm volatile("st.global.v2.u32 [%0], {%1,%2};" ::"l"(global), "r"(words[0]), "r"(words[1]) : "memory");
}
__device__ __forceinline__ void storeGlobal(void* global, const uint32_t (&words)[4]) {
  asm volatile("st.global.v4.u32 [%0], {%1,%2,%3,%4};" ::"l"(global), "r"(words[0]), "r"(words[1]), "r"(words[2]), "r"(words[3]) : "memory");
}

// ---- Barriers of a part of a block. 9.7.13.1. Barrier 0 is __syncthreads'; `threads` is a multiple of 32.

__device__ __forceinline__ void namedBarrierSync(int id, int threads) {
  asm volatile("bar.sync %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

/// Counts without waiting.
__device__ __forceinline__ void namedBarrierArrive(int id, int threads) {
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "r"(threads) : "memory");
}

}  // namespace repa::cuda
