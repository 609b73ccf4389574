// The backward pass of where a residual branch ends and the next begins, in one pass over the rows. Forward, branch output y joins the
// stream, x = residual + gate y, and the next branch begins with out = xhat (base + factor) + offset, xhat = (x - mean) rstd. So with
// g = dOut (base + factor):
//
//     dX = rstd (g - mean_D(g) - xhat mean_D(g xhat)) + dResidual        (the LayerNorm; dResidual reaches x past that branch; an
//                                                                         RMSNorm, whose mean is 0, has no mean_D(g))
//     dY = gate dX                                                      (the branch below; dX is the gradient of `residual` too)
//
//     dOffset = sum dOut    dFactor = sum dOut xhat    dGate = sum dX y    dBias = sum dY        over the rows of a group
//
// A group is what shares factor, offset and gate: a sample (adaLN), or all rows (an affine LayerNorm, LayerScale). Either half may be
// absent: without the LayerNorm dX is dResidual, without the branch there is no dY.
//
// Nine passes over an activation in 16 bits, where x, dResidual and dX are two each, and every one is needed: this is the traffic of
// an ideal machine. So all that counts is to keep memory busy:
//
//     part 0 of group 0      | part 1     one block a part of a group's rows. A batch of 256 is 256 blocks, two on each SM at once; other
//     part 0 of group 1      | part 1     batches are cut into more parts where that fills the machine.
//
//     row r      warp 0 | warp 1 | ... | warp 8      a thread owns 4 neighbouring columns (1152 = 9 * 32 * 4) and keeps its 16 sums over
//     row r + 1  warp 0 | warp 1 | ... | warp 8      the rows in registers: no sum over rows leaves the block but once, at the end.
//
// A row's two means cross its warps: 6 shuffles for the 4 sums of two rows at once (warp_sum.h), then one barrier. Narrow models have
// several such teams of warps, each with rows of its own, joined at the end.
//
// Memory plan. Every thread copies its own columns of the rows to come into a ring in shared memory with cp.async and reads only what it
// copied itself, so the ring needs no barrier, and two or three steps of two rows stay under way while a step is computed:
//
//     ring   [team, stage, 2 rows] of  x (16 bytes a thread) | dResidual (16) | dOut (4 elements) | y (4 elements)
//     sums   [2, team, warp, 4]        the row sums of a warp; two of them, so that one barrier a step is enough
//
// 12 bytes a column and row in 16 bits: 83 KB at 1152 with three stages, 55 KB of them under way in each of two blocks an SM, where
// 23 KB an SM hide the latency of 4.3 TB/s. Two such blocks and the 2 KB that the chip keeps are 576 bytes more than an A100's 164 KB: there
// two stages, 28 KB under way in each of two blocks, as at 1024 of 100 KB. No more than 99 KB is asked for, what every chip since sm_80 has
// (sm_86 the least). 92 registers, so the two blocks of 9 warps fit an SM in that respect too.
//
// Rows that are wider than 2048, not a multiple of 4 wide or not aligned take the kernels of branch_backward_elements.h.
#pragma once

#include "cuda/branch_backward_arguments.h"
#include "cuda/branch_backward_elements.h"
#include "cuda/launch.h"
#include "cuda/partial_sums.h"
#include "cuda/read_only.h"
#include "cuda/shared_memory.h"
#include "cuda/vector.h"
#include "cuda/warp_sum.h"

namespace repa::cuda {

namespace branch_backward {

constexpr int kColumnsOfWarp = 128;
constexpr int kRowsAtOnce = 2;
/// Of a step and warp: two of each row.
constexpr int kRowSums = 2 * kRowsAtOnce;
constexpr int kMostStages = 3;
/// Of a block, which bounds the registers to 112: two blocks of 9 warps (a width of 1152) share an SM.
constexpr int kMostThreads = 576;
constexpr int64_t kMostSharedBytes = 99 * 1024;

/// One team's ring, of `threads` threads. A place is where a thread's residual in the first row of a stage is.
template <class T, bool kNorm, bool kGate>
struct Ring {
  static constexpr int kBytesOfThread = 16 + (kNorm ? 16 + 4 * sizeof(T) : 0) + (kGate ? 4 * sizeof(T) : 0);

  int threads, thread;

  __host__ __device__ static constexpr int bytes(int threads, int stages) { return threads * kBytesOfThread * kRowsAtOnce * stages; }

  __device__ __forceinline__ unsigned char* row(unsigned char* place, int r) const { return place + r * threads * kBytesOfThread; }
  __device__ __forceinline__ float* residual(unsigned char* place, int r) const { return reinterpret_cast<float*>(row(place, r)); }
  __device__ __forceinline__ float* x(unsigned char* place, int r) const { return reinterpret_cast<float*>(row(place, r) + 16 * threads); }
  __device__ __forceinline__ T* dOut(unsigned char* place, int r) const { return four(row(place, r) + 32 * threads); }
  __device__ __forceinline__ T* y(unsigned char* place, int r) const {
    return four(row(place, r) + (kNorm ? 32 + 4 * sizeof(T) : 16) * threads);
  }

 private:
  /// From the thread's place among 16 bytes a thread to that among 4 elements a thread.
  __device__ __forceinline__ T* four(unsigned char* place) const {
    return reinterpret_cast<T*>(place - (16 - 4 * static_cast<int>(sizeof(T))) * thread);
  }
};

template <class T, bool kNorm, bool kGate>
__global__ void __launch_bounds__(kMostThreads, 1) vectorKernel(Arguments<T> args, int teams, int warpsOfTeam, int stages) {
  REPA_DYNAMIC_SHARED(shared);
  const BranchBackward<T>& of = args.of;
  const int lane = static_cast<int>(threadIdx.x % 32);
  const int threads = 32 * warpsOfTeam;
  const int team = static_cast<int>(threadIdx.x) / threads;
  const int thread = static_cast<int>(threadIdx.x) % threads;
  const int column = 4 * thread;
  const bool inside = column < of.width;

  // Rows are counted from the part's first, and offsets are from that row, by the step: of a step's number they would be products.
  const int64_t group = blockIdx.x / args.parts;
  const int part = static_cast<int>(blockIdx.x % args.parts);
  const Rows rows = rowsOfPart(args, group, part);
  const int count = static_cast<int>(rows.end - rows.begin), ownRows = inside ? count : 0;
  const int rowsOfStep = teams * kRowsAtOnce;
  const int64_t begin = rows.begin * of.width + column, stepElements = rowsOfStep * of.width;

  using TeamRing = Ring<T, kNorm, kGate>;
  const int stageBytes = TeamRing::bytes(threads, 1), ringBytes = stages * stageBytes;
  const TeamRing ring{threads, thread};
  // Pointers that walk: nvcc 13.0 makes anew, at every use, what it can make of a stage's number.
  unsigned char *const firstPlace = shared + team * ringBytes + 16 * thread, *const lastPlace = firstPlace + ringBytes - stageBytes;
  unsigned char *reading = firstPlace, *writing = firstPlace;
  float* rowSums = reinterpret_cast<float*>(shared + teams * ringBytes) + team * warpsOfTeam * kRowSums;
  float* nextRowSums = rowSums + teams * warpsOfTeam * kRowSums;

  const bool hasResidual = !kNorm || of.dResidual;
  int64_t nextAt = begin + team * kRowsAtOnce * of.width;  // what is copied next, and its first row
  int nextRow = team * kRowsAtOnce;
  const auto copyStep = [&] {
#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r) {
      if (nextRow + r < ownRows) {
        const int64_t at = nextAt + r * of.width;
        if constexpr (kNorm) {
          cpAsync<16>(ring.x(writing, r), of.x + at);
          cpAsync<4 * sizeof(T)>(ring.dOut(writing, r), of.dOut + at);
        }
        if (hasResidual) cpAsync<16>(ring.residual(writing, r), of.dResidual + at);
        if constexpr (kGate) cpAsync<4 * sizeof(T)>(ring.y(writing, r), of.y + at);
      }
    }
    cpAsyncCommit();
    writing = writing == lastPlace ? firstPlace : writing + stageBytes;
    nextAt += stepElements;
    nextRow += rowsOfStep;
  };
  // Lane r holds row r's mean, lane kRowsAtOnce + r its rstd.
  const float* const statistics = kNorm ? (lane < kRowsAtOnce ? of.mean : of.rstd) + rows.begin : nullptr;
  const auto statisticOf = [&](int first) {
    const int row = first + lane % kRowsAtOnce;
    return lane < 2 * kRowsAtOnce && row < count ? __ldg(statistics + row) : 0.0f;
  };

  for (int step = 0; step < stages - 1; ++step) copyStep();
  float statistic = 0.0f;
  if constexpr (kNorm) statistic = statisticOf(team * kRowsAtOnce);

  float factor[4] = {}, gate[4] = {};
  if (inside) {
    if constexpr (kNorm) {
      loadReadOnly(factor, of.factor + group * of.factorStride + column);
#pragma unroll
      for (int j = 0; j < 4; ++j) factor[j] += of.base;
    }
    if constexpr (kGate) loadReadOnly(gate, of.gate + group * of.gateStride + column);
  }
  float offsetSum[4] = {}, factorSum[4] = {}, gateSum[4] = {}, dXSum[4] = {};

  const float scale = 1.0f / static_cast<float>(of.width);
  int64_t at = begin + team * kRowsAtOnce * of.width;
  // All teams make as many steps, the last of them maybe of no rows.
  for (int firstOfAll = 0; firstOfAll < count; firstOfAll += rowsOfStep) {
    const int first = firstOfAll + team * kRowsAtOnce;
    copyStep();  // into what the last step has read
    if (stages == kMostStages) cpAsyncWait<kMostStages - 1>();
    else cpAsyncWait<kMostStages - 2>();

    float g[kRowsAtOnce][4] = {}, xhat[kRowsAtOnce][4] = {};
    float rstd[kRowsAtOnce], meanG[kRowsAtOnce], meanGXhat[kRowsAtOnce];
    if constexpr (kNorm) {
      float sums[kRowSums] = {};
#pragma unroll
      for (int r = 0; r < kRowsAtOnce; ++r) {
        const float mean = __shfl_sync(kAll, statistic, r);
        rstd[r] = __shfl_sync(kAll, statistic, kRowsAtOnce + r);
        if (first + r < ownRows) {
          float x[4], d[4];
          load(x, ring.x(reading, r));
          load(d, ring.dOut(reading, r));
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            xhat[r][j] = (x[j] - mean) * rstd[r];
            g[r][j] = d[j] * factor[j];
            sums[2 * r] += g[r][j];
            sums[2 * r + 1] += g[r][j] * xhat[r][j];
            offsetSum[j] += d[j];
            factorSum[j] += d[j] * xhat[r][j];
          }
        }
      }
      statistic = statisticOf(first + rowsOfStep);

      // Lane l adds sum l % 4 over the warps; each lane takes all four from its neighbours.
      static_assert(kRowSums == 4, "every eighth lane has one of them");
      const float sum = warpSums(sums, lane);
      if (lane % 8 == 0) rowSums[thread / 32 * kRowSums + lane / 8] = sum;
      namedBarrierSync(1 + team, threads);
      float total = 0.0f;
#pragma unroll 4
      for (int warp = 0; warp < warpsOfTeam; ++warp) total += rowSums[warp * kRowSums + lane % kRowSums];
      total *= scale;
      if (!of.centred && lane % 2 == 0) total = 0.0f;
#pragma unroll
      for (int r = 0; r < kRowsAtOnce; ++r) {
        meanG[r] = __shfl_sync(kAll, total, 2 * r);
        meanGXhat[r] = __shfl_sync(kAll, total, 2 * r + 1);
      }
    }

#pragma unroll
    for (int r = 0; r < kRowsAtOnce; ++r) {
      if (first + r < ownRows) {
        const int64_t here = at + r * of.width;
        float dX[4] = {};
        if (hasResidual) load(dX, ring.residual(reading, r));
        if constexpr (kNorm) {
#pragma unroll
          for (int j = 0; j < 4; ++j) dX[j] += rstd[r] * (g[r][j] - meanG[r] - xhat[r][j] * meanGXhat[r]);
          store(of.dX + here, dX);
        }
        if constexpr (kGate) {
          float y[4], dY[4];
          load(y, ring.y(reading, r));
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            dY[j] = gate[j] * dX[j];
            gateSum[j] += dX[j] * y[j];
            dXSum[j] += dX[j];
          }
          store(of.dY + here, dY);
        }
      }
    }
    at += stepElements;
    reading = reading == lastPlace ? firstPlace : reading + stageBytes;
    float* const used = rowSums;
    rowSums = nextRowSums, nextRowSums = used;
  }

  // The teams' sums, joined in their order; the first team writes them.
  float* const sums[kSums] = {offsetSum, factorSum, gateSum, dXSum};
  constexpr int first = kNorm ? 0 : 2, last = kGate ? kSums : 2;
  if (teams > 1) {
    float4* const joined = reinterpret_cast<float4*>(shared);
    __syncthreads();  // the rings have been read
#pragma unroll
    for (int i = first; i < last; ++i)
      joined[(i - first) * teams * threads + threadIdx.x] = {sums[i][0], sums[i][1], sums[i][2], sums[i][3]};
    __syncthreads();
    if (team > 0) return;
#pragma unroll
    for (int i = first; i < last; ++i) {
#pragma unroll 1
      for (int other = 1; other < teams; ++other) {
        const float4 add = joined[((i - first) * teams + other) * threads + thread];
        sums[i][0] += add.x, sums[i][1] += add.y, sums[i][2] += add.z, sums[i][3] += add.w;
      }
    }
  }
  if (!inside) return;
  // The gate is one for all rows: the sum of dY is that of dX, times the gate.
#pragma unroll
  for (int j = 0; j < 4; ++j) dXSum[j] *= gate[j];
#pragma unroll
  for (int i = first; i < last; ++i) {
    const PartSums& to = args.sums[i];
    if (to.at) store(to.at + group * to.groupStride + part * to.partStride + column, *reinterpret_cast<float(*)[4]>(sums[i]));
  }
}

}  // namespace branch_backward

/// For `sums` of them, of which `joined` are over the groups or are added to what is there. Of groups with one part only those go through
/// scratch: where each token is a group, as in DiT-DH's head, it is a large block.
inline int64_t branchBackwardScratchFloats(int64_t groups, int64_t rows, int64_t width, int sums, int joined) {
  const int64_t parts = branch_backward::partsOf(groups, rows);
  return (parts == 1 ? joined : sums) * groups * parts * width;
}

template <bool kNorm, bool kGate, class T>
void branchBackward(cudaStream_t stream, const BranchBackward<T>& of) {
  using namespace branch_backward;
  if (of.width == 0) return;
  Arguments<T> args = {.of = of, .parts = static_cast<int>(partsOf(of.groups, of.rows)), .sums = {}};

  const RowSum wanted[kSums] = {of.dOffset, of.dFactor, of.dGate, of.dBias};
  PartialSums partial[kSums];
  int partials = 0;
  bool vectors = true;
  for (int i = 0; i < kSums; ++i) {
    const RowSum& sum = wanted[i];
    if (!sum.out) continue;
    if (args.parts == 1 && !sum.acrossGroups && !sum.accumulate) {
      args.sums[i] = {sum.out, sum.stride, 0};
      vectors = vectors && aligned16(sum.out) && sum.stride % 4 == 0;
    } else {
      float* at = of.scratch + partials * of.groups * args.parts * of.width;
      args.sums[i] = {at, args.parts * of.width, of.width};
      partial[partials++] = {at, sum.acrossGroups ? 1 : of.groups, sum.acrossGroups ? of.groups * args.parts : args.parts,
                             sum.out, sum.stride, sum.accumulate};
    }
  }

  const auto count = [](int64_t n) { return dim3(static_cast<unsigned>(n)); };
  if (of.groups > 0) {
    const int warps = static_cast<int>((of.width + kColumnsOfWarp - 1) / kColumnsOfWarp);
    const int teams = warps < 8 ? 8 / warps : 1;
    const int threads = 32 * warps * teams;
    const auto sharedBytes = [&](int stages) {
      const int64_t ring = Ring<T, kNorm, kGate>::bytes(32 * warps, stages);
      return teams * (ring + 2 * warps * kRowSums * static_cast<int64_t>(sizeof(float)));
    };
    // A stage less where that lets two blocks share an SM: as many bytes are under way, and one computes while the other waits.
    const bool fits = sharedBytes(kMostStages) <= kMostSharedBytes;
    const auto twoFit = [&](int stages) { return twoFitIntoMultiprocessor(static_cast<size_t>(sharedBytes(stages))); };
    const bool lessLetsTwoIn = !twoFit(kMostStages) && twoFit(kMostStages - 1);
    const int stages = fits && !lessLetsTwoIn ? kMostStages : kMostStages - 1;
    vectors = vectors && of.width % 4 == 0 && of.factorStride % 4 == 0 && of.gateStride % 4 == 0 && threads <= kMostThreads &&
              sharedBytes(stages) <= kMostSharedBytes &&
              aligned16(of.dOut, of.x, of.factor, of.dResidual, of.dX, of.y, of.gate, of.dY, of.scratch);
    if (vectors) {
      const size_t bytes = static_cast<size_t>(sharedBytes(stages));
      launch(stream, vectorKernel<T, kNorm, kGate>, {.grid = count(of.groups * args.parts), .block = count(threads), .sharedBytes = bytes},
             args, teams, warps, stages);
    } else {
      const dim3 block = count(kElementThreads);
      const int64_t rows = of.groups * of.rows, rowsOfBlock = kElementThreads / 32, strips = (of.width + 31) / 32;
      if (rows > 0)
        launch(stream, rowKernel<T, kNorm, kGate>, {.grid = count((rows + rowsOfBlock - 1) / rowsOfBlock), .block = block}, args);
      launch(stream, columnKernel<T, kNorm, kGate>, {.grid = count(of.groups * args.parts * strips), .block = block}, args);
    }
  }
  addPartialSums(stream, of.width, partial, partials);
}

}  // namespace repa::cuda
