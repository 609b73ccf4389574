// Attention in bf16 and f16 on tensor cores, as in FlashAttention-2 (arXiv 2307.08691): no N x N matrix, no copy of qkv.
//
//   S = Q Kᵀ     P = 2^(c S - shift), c = scale * log2 e, shift near the row's maximum     o = P V / sum P
//
// A warp owns 32 queries (16 above 80 columns), whose fragments, shift, sum and o stay in its registers while it goes over
// the keys, 64 at a time; keys that are no whole 64 end in steps of 16, masked. 32 and not 16, because a right operand comes from
// shared memory in 2 cycles and feeds one product of an estimated 1.6 (sm_90; 2 on sm_80) for each 16 queries: with 16 it would wait
// for shared memory. P is rounded to the dtype of computation before its product; its sum is of the unrounded P. Exponentials are to
// the base 2: the scale costs nothing beside the multiply-add that subtracts the shift.
//
// Causal, a query sees the keys up to its own: a warp goes over the whole 64s of keys that all its queries see, and then, 16 at a time and
// masked, as far as its last one sees.
//
// Resident (head_dim 64, 72, 80; up to 272 tokens, so that ViT's 257 and 261 fit): a CTA of 4 warps is one head. K and V are read from
// global memory once and stay in shared memory; with 64 queries a CTA they would cross L2 four times. The warps go over the queries
// in passes of 4 * 32 rows; each has a slab of 32 rows of Q, into which the next pass's arrive while it works on this one's.
//
//   queries   warp 0 | warp 1 | warp 2 | warp 3 | warp 0 | ...     shared memory   K  tokens (to a multiple of 16) x pitch
//   keys      64 | 64 | 64 | 64 | 16 ...                                            V  the same
//             each 64 a cp.async group of its own: the first products               Q  4 slabs of 32 rows
//             start when 37 KB of the head's 110 KB have come
//
//   head_dim 72, 256 tokens: 2 * 256 * 144 + 128 * 144 = 92,160 bytes and 242 registers (224 at 64 columns, 246 at 80; sm_90a), so 2 CTAs
//   an SM, one loading or in its exponentials while the other multiplies. SiT-XL at batch 256 is 4096 CTAs = 15.5 waves of 2 * 132. 257
//   tokens are 9 tiles of 32 queries for 4 warps: one warp makes a third pass.
//
// Streamed (any other size): a CTA is 128 queries of a head (64 above 80 columns), and 64 keys and values at a time pass through two
// stages of shared memory, the next while this one is worked on; one barrier a stage. The queries come by way of the second stage, into
// which nothing else does before they are in registers. 37 KB and 242 registers at 72 columns, 45 KB at 80, 70 KB and 203 at 128: 2 CTAs
// an SM, to 80 columns also where an SM has 100 KB. Causal, only those keys come that a query of the CTA sees.
#include "cuda/attention_tile.cuh"
#include "cuda/launch.h"
#include "cuda/shared_memory.h"

namespace repa::cuda {

namespace {

/// Of a tile of keys that some queries must not see: those from a number on, or for each query those behind one of its own.
enum class Hidden { none, beyond, later };

/// A warp's 16 kTiles queries on their way over the keys. In arrays of two, 0 is row g of a tile and 1 row g + 8.
template <int kColumns, int kTiles, bool kCausal>
struct Queries {
  LeftRows<kColumns> rows[kTiles];
  float o[kTiles][kColumns / 8][4] = {};
  float shift[kTiles][2];
  float sum[kTiles][2] = {};  // of the lane's own columns, until finish()

  template <class T>
  __device__ __forceinline__ void load(const T* tile) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      rows[i].load(tile + 16 * i * kPitch<kColumns>);
      shift[i][0] = shift[i][1] = kNoShift;
    }
  }

  /// Takes each row's maximum for its shift, and brings what was summed under the old one down to it. Causal, of the rows alone that need it:
  /// another query, a later one perhaps, changes no bit of a row.
  __device__ __forceinline__ void raiseShift(const float (&top)[kTiles][2], float c) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float maximum = fmaxf(top[i][half], __shfl_xor_sync(kAll, top[i][half], 1));
        maximum = fmaxf(maximum, __shfl_xor_sync(kAll, maximum, 2));
        float raised = fmaxf(maximum * c, shift[i][half]);
        if (kCausal && !(maximum * c > shift[i][half] + kSlack)) raised = shift[i][half];
        const float correction = exp2Approx(shift[i][half] - raised);
        shift[i][half] = raised;
        sum[i][half] *= correction;
#pragma unroll
        for (int column = 0; column < kColumns / 8; ++column) {
          o[i][column][2 * half] *= correction;
          o[i][column][2 * half + 1] *= correction;
        }
      }
  }

  /// kKeys keys. Hidden::beyond: of which there are `keys`. Hidden::later: of which the first query sees `keys`, the next one more.
  template <int kKeys, Hidden kHidden, class T>
  __device__ __forceinline__ void attend(const T* k, const T* v, float c, int keys = kKeys) {
    float s[kTiles][kKeys / 8][4] = {};
    multiplyByRows<T, kColumns>(s, rows, k);
    float top[kTiles][2];
    bool raise = false;
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      if constexpr (kHidden != Hidden::none) {
#pragma unroll
        for (int column = 0; column < kKeys / 8; ++column)
#pragma unroll
          for (int r = 0; r < 4; ++r) {
            const int query = kHidden == Hidden::later ? 16 * i + laneId() / 4 + 8 * (r / 2) : 0;
            if (8 * column + laneId() % 4 * 2 + r % 2 >= keys + query) s[i][column][r] = -INFINITY;
          }
      }
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        top[i][half] = -INFINITY;
#pragma unroll
        for (int column = 0; column < kKeys / 8; ++column)
          top[i][half] = fmaxf(top[i][half], fmaxf(s[i][column][2 * half], s[i][column][2 * half + 1]));
        raise |= top[i][half] * c > shift[i][half] + kSlack;
      }
    }
    if (__any_sync(kAll, raise)) raiseShift(top, c);
#pragma unroll
    for (int step = 0; step < kKeys / 16; ++step) {
      uint32_t p[kTiles][4];
#pragma unroll
      for (int i = 0; i < kTiles; ++i) {
#pragma unroll
        for (int column = 2 * step; column < 2 * step + 2; ++column)
#pragma unroll
          for (int r = 0; r < 4; ++r) {
            s[i][column][r] = exp2Approx(s[i][column][r] * c - shift[i][r / 2]);
            sum[i][r / 2] += s[i][column][r];
          }
        roundToLeft<T>(p[i], s[i][2 * step], s[i][2 * step + 1]);
      }
      multiplyRows<T, kColumns>(o, p, v + 16 * step * kPitch<kColumns>);
    }
  }

  /// The last `keys` keys, which are no whole 64, 16 at a time.
  template <class T>
  __device__ __forceinline__ void attendRest(const T* k, const T* v, float c, int keys) {
#pragma unroll 1
    for (int key = 0; key < keys; key += 16)
      attend<16, Hidden::beyond>(k + key * kPitch<kColumns>, v + key * kPitch<kColumns>, c, keys - key);
  }

  /// The keys that some of the queries from `first` on see and others not, and what of the same 64 all see: k and v are at that 64's.
  template <class T>
  __device__ __forceinline__ void attendDiagonal(const T* k, const T* v, float c, int first, int tokens) {
    const int firstKey = first / 64 * 64, count = min(tokens, first + 16 * kTiles) - firstKey;
#pragma unroll 1
    for (int key = 0; key < count; key += 16)
      attend<16, Hidden::later>(k + key * kPitch<kColumns>, v + key * kPitch<kColumns>, c, first + 1 - firstKey - key);
  }

  /// Writes o and lse of the queries from `first` on.
  template <class T>
  __device__ __forceinline__ void finish(const AttentionForward<T>& a, const Head& at, int first, int headDim, bool aligned) {
#pragma unroll
    for (int i = 0; i < kTiles; ++i) {
      float factor[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float total = sum[i][half];
        total += __shfl_xor_sync(kAll, total, 1);
        total += __shfl_xor_sync(kAll, total, 2);
        factor[half] = 1.0f / total;
        const int row = first + 16 * i + laneId() / 4 + 8 * half;
        if (a.lse && laneId() % 4 == 0 && row < a.tokens)
          a.lse[int64_t{at.index} * a.tokens + row] = shift[i][half] + log2f(total);
      }
      storeRows(o[i], factor, headOfOutput(a.o, at, a.tokens, a.heads, headDim), first + 16 * i, a.tokens, headDim, aligned);
    }
  }
};

// ---- Resident.

constexpr int kWarps = 4;
constexpr int kMostResidentTokens = 272;
constexpr int kKeyGroups = 5;  // of 64 keys, the last of fewer: 272 = 4 * 64 + 16

__host__ __device__ constexpr int wholeSteps(int tokens) { return (tokens + 15) / 16 * 16; }

template <int kColumns>
size_t residentBytes(int tokens) {
  return sizeof(bf16) * kPitch<kColumns> * (2 * wholeSteps(tokens) + 32 * kWarps);
}

/// Waits for cp.async group `wanted` of kKeyGroups, behind which one more, the next pass's queries, has been committed.
template <int group = 1>
__device__ __forceinline__ void waitForKeys(int wanted) {
  if (wanted == group) return cpAsyncWait<kKeyGroups - group>();
  if constexpr (group + 1 < kKeyGroups) waitForKeys<group + 1>(wanted);
}

template <class T, int kColumns, bool kCausal>
__global__ void __launch_bounds__(32 * kWarps, 2) attentionResidentKernel(AttentionForward<T> a) {
  REPA_DYNAMIC_SHARED(shared);
  constexpr int pitch = kPitch<kColumns>;
  const int tokens = a.tokens, steps = wholeSteps(tokens);
  T* const k = reinterpret_cast<T*>(shared);
  T* const v = k + steps * pitch;
  T* const slab = v + steps * pitch + warpId() * 32 * pitch;

  const Head at(blockIdx.x, a.heads);
  const auto rowsOf = [&](QkvPart part) { return headOfQkv(a.qkv, at, part, tokens, a.heads, kColumns); };
  const auto loadQueries = [&](int first) { loadRows<kColumns>(slab, rowsOf(kQuery), first, 32, tokens, kColumns, true, laneId(), 32); };
  loadQueries(32 * warpId());
#pragma unroll 1
  for (int group = 0; group < kKeyGroups; ++group) {
    const int first = 64 * group, count = min(64, steps - first);
    loadRows<kColumns>(k + first * pitch, rowsOf(kKey), first, count, tokens, kColumns, true, threadIdx.x, 32 * kWarps);
    loadRows<kColumns>(v + first * pitch, rowsOf(kValue), first, count, tokens, kColumns, true, threadIdx.x, 32 * kWarps);
    cpAsyncCommit();
  }

  const float c = a.scaleLog2;
  const int wholeGroups = tokens / 64;
#pragma unroll 1
  for (int first = 32 * warpId(), pass = 0; 32 * kWarps * pass < tokens; first += 32 * kWarps, ++pass) {
    const bool some = first < tokens;  // the same in the whole warp
    // In the first pass the keys are still coming, and all warps wait for them together.
    if (pass == 0) {
      cpAsyncWait<kKeyGroups - 1>();
      __syncthreads();
    } else {
      cpAsyncWait<0>();
      __syncwarp();
    }
    Queries<kColumns, 2, kCausal> queries;
    queries.load(slab);
    __syncwarp();
    if (first + 32 * kWarps < tokens) loadQueries(first + 32 * kWarps);
    cpAsyncCommit();
#pragma unroll 1
    for (int group = 0; group < wholeGroups; ++group) {
      if (pass == 0 && group > 0) {
        waitForKeys(group);
        __syncthreads();
      }
      if (some && (!kCausal || group < first / 64))
        queries.template attend<64, Hidden::none>(k + 64 * group * pitch, v + 64 * group * pitch, c);
    }
    if (pass == 0 && wholeGroups > 0 && 64 * wholeGroups < tokens) {
      waitForKeys(wholeGroups);
      __syncthreads();
    }
    if (some) {
      const int done = kCausal ? first / 64 * 64 : 64 * wholeGroups;
      if constexpr (kCausal) queries.attendDiagonal(k + done * pitch, v + done * pitch, c, first, tokens);
      else queries.attendRest(k + done * pitch, v + done * pitch, c, tokens - done);
      queries.finish(a, at, first, kColumns, true);
    }
  }
}

// ---- Streamed.

template <int kColumns>
inline constexpr int kQueryTiles = kColumns <= 80 ? 2 : 1;

template <int kColumns>
inline constexpr int kQueriesOfBlock = 16 * kQueryTiles<kColumns> * kWarps;

template <int kColumns>
size_t streamedBytes() {
  static_assert(kQueriesOfBlock<kColumns> <= 2 * 64, "the queries lie in the second stage until they are in registers");
  return sizeof(bf16) * kPitch<kColumns> * 4 * 64;
}

template <class T, int kColumns, bool kCausal>
__global__ void __launch_bounds__(32 * kWarps, 2) attentionStreamedKernel(AttentionForward<T> a) {
  REPA_DYNAMIC_SHARED(shared);
  constexpr int pitch = kPitch<kColumns>;
  constexpr int queriesOfBlock = kQueriesOfBlock<kColumns>, queriesOfWarp = queriesOfBlock / kWarps;
  const int tokens = a.tokens;
  const unsigned blocks = (tokens + queriesOfBlock - 1) / queriesOfBlock;
  const Head at(blockIdx.x / blocks, a.heads);
  const int firstOfBlock = static_cast<int>(blockIdx.x % blocks) * queriesOfBlock;
  T* const stages = reinterpret_cast<T*>(shared);
  const auto stage = [&](int index, QkvPart part) { return stages + (index % 2 * 2 + (part == kValue ? 1 : 0)) * 64 * pitch; };
  T* const q = stage(1, kKey);
  const auto load = [&](T* tile, QkvPart part, int first, int count) {
    loadRows<kColumns>(tile, headOfQkv(a.qkv, at, part, tokens, a.heads, a.headDim), first, count, tokens, a.headDim, a.aligned,
                       threadIdx.x, 32 * kWarps);
  };
  load(q, kQuery, firstOfBlock, queriesOfBlock);
  load(stage(0, kKey), kKey, 0, 64);
  load(stage(0, kValue), kValue, 0, 64);
  cpAsyncCommit();

  const int first = firstOfBlock + queriesOfWarp * warpId();
  const bool some = first < tokens;  // the same in the whole warp
  const float c = a.scaleLog2;
  Queries<kColumns, kQueryTiles<kColumns>, kCausal> queries;
  const int endOfKeys = kCausal ? min(tokens, firstOfBlock + queriesOfBlock) : tokens;
#pragma unroll 1
  for (int index = 0; 64 * index < endOfKeys; ++index) {
    cpAsyncWait<0>();
    __syncthreads();  // this stage has come, and nobody reads the other one any more
    if (index == 0) {
      queries.load(q + queriesOfWarp * warpId() * pitch);
      __syncthreads();  // the next stage comes where all warps' queries were
    }
    if (64 * (index + 1) < endOfKeys) {
      load(stage(index + 1, kKey), kKey, 64 * (index + 1), 64);
      load(stage(index + 1, kValue), kValue, 64 * (index + 1), 64);
      cpAsyncCommit();
    }
    if (!some) continue;
    const T *const k = stage(index, kKey), *const v = stage(index, kValue);
    const int keys = tokens - 64 * index;
    if constexpr (kCausal) {
      if (index < first / 64) queries.template attend<64, Hidden::none>(k, v, c);
      else if (index == first / 64) queries.attendDiagonal(k, v, c, first, tokens);
    } else if (keys >= 64) {
      queries.template attend<64, Hidden::none>(k, v, c);
    } else {
      queries.attendRest(k, v, c, keys);
    }
  }
  if (some) queries.finish(a, at, first, a.headDim, a.aligned);
}

}  // namespace

template <class T>
bool attentionResident(cudaStream_t stream, const AttentionForward<T>& a, bool causal) {
  if (!a.aligned || a.tokens > kMostResidentTokens) return false;
  const auto run = [&]<int kColumns, bool kCausal>() {
    const size_t bytes = residentBytes<kColumns>(a.tokens);
    if (!fitsIntoSharedMemory(bytes)) return false;
    launch(stream, attentionResidentKernel<T, kColumns, kCausal>,
           {.grid = dim3(static_cast<unsigned>(a.batch * a.heads)), .block = dim3(32 * kWarps), .sharedBytes = bytes}, a);
    return true;
  };
  // Text encoders' heads are of 64.
  if (causal) return a.headDim == 64 && run.template operator()<64, true>();
  switch (a.headDim) {
    case 64: return run.template operator()<64, false>();
    case 72: return run.template operator()<72, false>();
    case 80: return run.template operator()<80, false>();
    default: return false;
  }
}

template <class T>
void attentionStreamed(cudaStream_t stream, const AttentionForward<T>& a, bool causal) {
  const auto run = [&]<int kColumns, bool kCausal = false>() {
    const int64_t blocks = (a.tokens + kQueriesOfBlock<kColumns> - 1) / kQueriesOfBlock<kColumns>;
    launch(stream, attentionStreamedKernel<T, kColumns, kCausal>,
           {.grid = dim3(static_cast<unsigned>(a.batch * a.heads * blocks)),
            .block = dim3(32 * kWarps),
            .sharedBytes = streamedBytes<kColumns>()},
           a);
  };
  // Text encoders' heads are of 64: what is narrower is padded, and what is wider has one kernel.
  if (causal) return a.headDim <= 64 ? run.template operator()<64, true>() : run.template operator()<128, true>();
  if (a.headDim <= 32) run.template operator()<32>();
  else if (a.headDim <= 64) run.template operator()<64>();
  else if (a.headDim <= 72) run.template operator()<72>();
  else if (a.headDim <= 80) run.template operator()<80>();
  else if (a.headDim <= 96) run.template operator()<96>();
  else run.template operator()<128>();
}

template bool attentionResident(cudaStream_t, const AttentionForward<bf16>&, bool);
template bool attentionResident(cudaStream_t, const AttentionForward<f16>&, bool);
template void attentionStreamed(cudaStream_t, const AttentionForward<bf16>&, bool);
template void attentionStreamed(cudaStream_t, const AttentionForward<f16>&, bool);

}  // namespace repa::cuda
