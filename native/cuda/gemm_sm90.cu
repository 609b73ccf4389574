// Products of bf16 and f16 matrices on Hopper: TMA brings the operands, wgmma multiplies them, and a block stays for tile after tile.
//
// A block computes tiles of 256 x 128 with three warpgroups (the scheme of CUTLASS's cooperative kernels and of ThunderKittens):
//
//     producer      one thread: TMA ──▶ stage s of 4: A 256 x 64 | B 128 x 64     full[s] ──▶     ◀── empty[s]
//     consumer 0    rows   0-127 of the tile: 2 x wgmma m64n128k16, four times a stage; then the epilogue
//     consumer 1    rows 128-255
//
// While the consumers finish a tile, the producer already fills the stages with the next tile's operands. Either operand may have k
// contiguous (K-major) or its rows (MN-major); the TMA lays both down in lines of 128 bytes, swizzled, as wgmma's descriptors take them:
//     K-major     [rows][64 of k]                 16 of k further: 32 bytes
//     MN-major    [rows / 64][64 of k][64 rows]   16 of k further: 16 lines
//
// Shared memory: 4 stages of 32 + 16 KiB, a slab of 16 x 64 floats and 64 column sums for each consumer warp (34 KiB), the barriers:
// 226 KiB of 227, one block on a multiprocessor. Registers: 168 at launch; the producer gives back, so that a consumer has 232: 128 sums and the epilogue.
//
// The order of a sum is fixed: k upwards, 16 at a time.
#include "cuda/gemm_epilogue.cuh"
#include "cuda/launch.h"
#include "cuda/tensor_map.h"

namespace repa::cuda {

namespace {

constexpr int kRows = kTileRowsSm90, kColumns = kTileColumns, kDepth = 64;
constexpr int kStages = 4;
constexpr int kConsumers = 2, kWarpgroup = 128, kConsumerWarps = 4 * kConsumers;
constexpr int kThreads = (kConsumers + 1) * kWarpgroup;
constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
constexpr int kBandRows = 8;
constexpr int kLine = 64;                        // elements in a line of 128 bytes
constexpr int kBoxBytes = kLine * kDepth * 2;    // of 64 rows: what an MN-major operand is copied in
constexpr int kBytesA = kRows * kDepth * 2, kBytesB = kColumns * kDepth * 2, kStageBytes = kBytesA + kBytesB;
constexpr int kSlabRows = 16, kSlabColumns = 64, kSlabFloats = kSlabRows * kSlabColumns;
constexpr int kSlabsAt = kStages * kStageBytes;
constexpr int kColumnSumsAt = kSlabsAt + 4 * kConsumerWarps * kSlabFloats;
constexpr int kBarriersAt = kColumnSumsAt + 4 * kConsumerWarps * kSlabColumns;
constexpr int kSharedBytes = kBarriersAt + 2 * kStages * 8;
static_assert(kSharedBytes <= 227 * 1024);

struct OperandMaps {
  CUtensorMap a, b;
};

struct Sm90Group {
  GemmGroup group;
  int tiles;
  OperandMaps maps[GemmGroup::kMost];
};

/// The stage after this one, and the parity of its phase.
struct Pipeline {
  int stage = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

/// A tile's sum over k.
struct Span {
  int first, steps;
  __device__ __forceinline__ Span(const GemmProblem& problem, int split) : first(split * problem.depth) {
    steps = max(0, (min(static_cast<int>(problem.args.k), first + problem.depth) - first + kDepth - 1) / kDepth);
  }
};

/// Copies `rows` rows of an operand from firstRow on, 64 of k.
template <Major major, int rows>
__device__ __forceinline__ void copyOperand(unsigned char* to, const CUtensorMap* map, uint64_t* full, int firstRow, int k) {
  if constexpr (major == Major::k) {
    const int at[2] = {k, firstRow};
    tmaLoad(to, map, full, at);
  } else {
#pragma unroll
    for (int box = 0; box < rows / kLine; ++box) {
      const int at[2] = {firstRow + box * kLine, k};
      tmaLoad(to + box * kBoxBytes, map, full, at);
    }
  }
}

/// The descriptor of an operand from row firstRow (a multiple of 64) on, and how far the next 16 of k are.
template <Major major>
__device__ __forceinline__ MatrixDescriptor operandDescriptor(const unsigned char* operand, int firstRow) {
  // Eight lines of 128 bytes lie one after the other in either form; MN-major, 64 more rows are a box further.
  return matrixDescriptor(operand + firstRow * kDepth * 2, kBoxBytes, 1024, Swizzle::bytes128);
}
template <Major major>
constexpr unsigned kStepBytes = major == Major::k ? 32 : 16 * 128;

template <class T, GemmLayout layout>
__global__ void __launch_bounds__(kThreads, 1) gemmSm90Kernel(const __grid_constant__ Sm90Group launched) {
  constexpr Major majorA = layout == GemmLayout::weightGradient ? Major::mn : Major::k;
  constexpr Major majorB = layout == GemmLayout::forward ? Major::k : Major::mn;
  REPA_DYNAMIC_SHARED(shared);
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + kBarriersAt);
  uint64_t* const empty = full + kStages;
  const GemmGroup& group = launched.group;
  const int warpgroup = threadIdx.x / kWarpgroup;
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < kStages; ++stage) {
      mbarrierInit(&full[stage], 1);
      mbarrierInit(&empty[stage], kConsumerWarps);
    }
    fenceMbarrierInit();
  }
  __syncthreads();

  Pipeline pipeline;
  if (warpgroup == kConsumers) {
    decreaseRegisters<kProducerRegisters>();
    if (threadIdx.x == kConsumers * kWarpgroup) {
      for (int tile = static_cast<int>(blockIdx.x); tile < launched.tiles; tile += static_cast<int>(gridDim.x)) {
        const TilePlace place = tilePlace<kBandRows>(group, tile);
        const Span span(group.problems[place.problem], place.split);
        const OperandMaps& maps = launched.maps[place.problem];
        for (int step = 0; step < span.steps; ++step) {
          mbarrierWait(&empty[pipeline.stage], pipeline.parity ^ 1);
          unsigned char* const stage = shared + pipeline.stage * kStageBytes;
          uint64_t* const barrier = &full[pipeline.stage];
          mbarrierArriveExpect(barrier, kStageBytes);
          copyOperand<majorA, kRows>(stage, &maps.a, barrier, place.row * kRows, span.first + step * kDepth);
          copyOperand<majorB, kColumns>(stage + kBytesA, &maps.b, barrier, place.column * kColumns, span.first + step * kDepth);
          pipeline.next();
        }
      }
    }
    return;
  }

  increaseRegisters<kConsumerRegisters>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;  // of the consumers' eight
  float* const slab = reinterpret_cast<float*>(shared + kSlabsAt) + warp * kSlabFloats;
  float* const columnSums = reinterpret_cast<float*>(shared + kColumnSumsAt);
  for (int tile = static_cast<int>(blockIdx.x); tile < launched.tiles; tile += static_cast<int>(gridDim.x)) {
    const TilePlace place = tilePlace<kBandRows>(group, tile);
    const GemmProblem& problem = group.problems[place.problem];
    const GemmArgs& args = problem.args;
    const Span span(problem, place.split);
    float sums[2][64];
    if (span.steps == 0) {
#pragma unroll
      for (int i = 0; i < 64; ++i) sums[0][i] = sums[1][i] = 0.0f;
    }
    for (int step = 0; step < span.steps; ++step) {
      mbarrierWait(&full[pipeline.stage], pipeline.parity);
      const unsigned char* const stage = shared + pipeline.stage * kStageBytes;
      const MatrixDescriptor a0 = operandDescriptor<majorA>(stage, 128 * warpgroup), a1 = operandDescriptor<majorA>(stage, 128 * warpgroup + 64);
      const MatrixDescriptor b = operandDescriptor<majorB>(stage + kBytesA, 0);
      wgmmaFence();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k) {
        const bool accumulate = step > 0 || k > 0;
        const MatrixDescriptor bk = advance(b, k * kStepBytes<majorB>);
        wgmma<T, kColumns, majorA, majorB>(sums[0], advance(a0, k * kStepBytes<majorA>), bk, accumulate);
        wgmma<T, kColumns, majorA, majorB>(sums[1], advance(a1, k * kStepBytes<majorA>), bk, accumulate);
      }
      wgmmaCommit();
      // The step before has been read by now: its stage, the one before this, may be filled again.
      wgmmaWait<1>();
      if (step > 0 && lane == 0) mbarrierArrive(&empty[(pipeline.stage + kStages - 1) % kStages]);
      pipeline.next();
    }
    wgmmaWait<0>();
    wgmmaHold(sums[0]);
    wgmmaHold(sums[1]);
    if (span.steps > 0 && lane == 0) mbarrierArrive(&empty[(pipeline.stage + kStages - 1) % kStages]);

    // Of each 64 rows of the warpgroup a warp holds 16; it finishes them 64 columns at a time.
    const int m = static_cast<int>(args.m), n = static_cast<int>(args.n);
    const int partRows = place.split * m;  // C has m rows for each part of a sum that is cut
    const int firstRow = partRows + place.row * kRows + 128 * warpgroup + 16 * (warp % 4), firstColumn = place.column * kColumns;
#pragma unroll 1
    for (int half = 0; half < 2; ++half) {
      Epilogue<T, 8> epilogue(args, problem.wide, firstColumn + 64 * half + lane % 8 * 8);
#pragma unroll 1
      for (int block = 0; block < 2; ++block) {
        const auto layDown = [&](const float (&from)[64], int first) { layFragmentsDown(slab, 0, [&](int j, int i) { return from[first + 4 * j + i]; }); };
        if (half == 0) {
          if (block == 0) layDown(sums[0], 0);
          else layDown(sums[1], 0);
        } else {
          if (block == 0) layDown(sums[0], 32);
          else layDown(sums[1], 32);
        }
        __syncwarp();
        finishSlab<kSlabRows>(epilogue, slab, fragmentSlabIndex, firstRow + 64 * block, partRows + m);
        __syncwarp();
      }
      if (problem.columnSums) {
        constexpr int kBarrier = 1;  // __syncthreads' is 0
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          float sum = epilogue.sums()[i];
          sum += __shfl_xor_sync(0xffffffffu, sum, 8);
          sum += __shfl_xor_sync(0xffffffffu, sum, 16);
          if (lane < 8) columnSums[warp * kSlabColumns + lane * 8 + i] = sum;
        }
        namedBarrierSync(kBarrier, kConsumers * kWarpgroup);
        const int own = threadIdx.x, column = firstColumn + 64 * half + own;
        if (own < kSlabColumns && column < n) {
          float sum = 0.0f;
#pragma unroll
          for (int w = 0; w < kConsumerWarps; ++w) sum += columnSums[w * kSlabColumns + own];
          problem.columnSums[static_cast<int64_t>(place.row) * n + column] = sum;
        }
        namedBarrierSync(kBarrier, kConsumers * kWarpgroup);
      }
    }
  }
}

/// An operand of `rows` rows by k, as it lies in memory.
CUtensorMap operandMap(const GemmArgs& args, const void* base, int64_t pitch, int64_t rows, bool kContiguous, int boxRows) {
  return kContiguous ? matrixMap(args.dtype, base, rows, args.k, pitch, boxRows, kDepth) : matrixMap(args.dtype, base, args.k, rows, pitch, kDepth, kLine);
}

template <class T>
void launchType(cudaStream_t stream, const Sm90Group& launched, const LaunchShape& shape) {
  switch (launched.group.problems[0].args.layout) {
    case GemmLayout::forward: return launch(stream, gemmSm90Kernel<T, GemmLayout::forward>, shape, launched);
    case GemmLayout::inputGradient: return launch(stream, gemmSm90Kernel<T, GemmLayout::inputGradient>, shape, launched);
    case GemmLayout::weightGradient: return launch(stream, gemmSm90Kernel<T, GemmLayout::weightGradient>, shape, launched);
  }
}

}  // namespace

void launchGemmSm90(cudaStream_t stream, const GemmGroup& group, int tiles, int multiprocessors) {
  Sm90Group launched{.group = group, .tiles = tiles, .maps = {}};
  for (int i = 0; i < group.count; ++i) {
    const GemmArgs& args = group.problems[i].args;
    if (args.k == 0) continue;  // nobody copies, and an empty matrix has no map
    launched.maps[i] = {.a = operandMap(args, args.a, args.lda, args.m, args.layout != GemmLayout::weightGradient, kRows),
                        .b = operandMap(args, args.b, args.ldb, args.n, args.layout == GemmLayout::forward, kColumns)};
  }
  const LaunchShape shape{.grid = dim3(static_cast<unsigned>(tiles < multiprocessors ? tiles : multiprocessors)), .block = dim3(kThreads), .sharedBytes = kSharedBytes};
  if (group.problems[0].args.dtype == DType::bf16) launchType<bf16>(stream, launched, shape);
  else launchType<f16>(stream, launched, shape);
}

}  // namespace repa::cuda
