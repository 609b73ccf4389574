// Products of bf16 and f16 matrices on Hopper: TMA brings the operands, wgmma multiplies them, and a block stays for tile after tile.
//
// A block is three warpgroups, one that brings operands and two that multiply, in one of CUTLASS's two ways:
//
//     forward, inputGradient: in turns ("ping-pong")         weightGradient: together ("cooperative")
//     producer    one thread: TMA ──▶ stages ──▶             the same
//     consumer 0  tiles 0, 2, 4 ... of 128 x 128             rows   0-127 of every tile of 256 x 128
//     consumer 1  tiles 1, 3, 5 ...                          rows 128-255
//
// In turns, a tile's epilogue, which reads and writes global memory and evaluates activations, runs under the main loop of the next: with
// k = 1152 that is a third of the time. A weight gradient's sums are so long that its epilogue is nothing, and a larger tile reads less
// of its operands from L2: 85 instead of 64 multiply-adds for each byte. A consumer's step is 2 x wgmma m64n128k16, four times a stage.
//
// The weight gradients of a block share a launch: all have the same k, so a tile of any takes as long, and blocks walk the tiles of one
// after those of another. SiT-XL/2 at batch 256 on 132 SMs, k = 65,536, in units of one uncut tile's time (0.72 ms at 790 TFLOP/s):
//
//                            tiles     alone: parts of a sum, waves, their sums (gemm.cpp)      together
//     qkv   3456 x 1152    14 x  9 = 126     1     1.00
//     proj  1152 x 1152     5 x  9 =  45     5     0.40 + 0.06
//     fc1   4608 x 1152    18 x  9 = 162     4     1.25 + 0.10
//     fc2   1152 x 4608     5 x 36 = 180     5     1.40 + 0.12
//                                    513           4.33, 7 launches                          4 waves, 97 % full, 1 launch
//
// That is 0.24 ms a block, and no sum is cut.
//
// Stages hold A 128 (256) x 64 and B 128 x 64, as many as the epilogue leaves room for: 4 to 6 of 32 KiB (4 of 48). Barrier full[s] says that the TMA has filled one, empty[s] that its
// consumers have read it. Either operand may have k contiguous (K-major) or its rows (MN-major); the TMA lays both down in lines of 128
// bytes, swizzled, as wgmma's descriptors take them:
//     K-major     [rows][64 of k]                    16 of k further: 32 bytes
//     MN-major    [rows / 64][64 of k][64 rows]      16 of k further: 16 lines
//
// Shared memory: 128 to 192 KiB of stages; what the epilogue stages, 32 or 48 KiB a consumer (gemm_sm90_finish.cuh) or 4 KiB a warp
// (gemm_sm90_slabs.cuh); 64 column sums for each consumer warp, the barriers: 226 KiB of 227, one block on a multiprocessor. Registers: 168
// at launch; the producer gives back, so that a consumer has 232: 128 sums and the epilogue.
//
// On an H200, SiT-XL/2 at batch 256, bf16, TFLOP/s by the way results are finished, each measured once; between calls the chip's clock moved
// them by some 5 % (bench/results has them of one session):
//                                            slabs   direct
//     qkv, bias                                491      712
//     proj, gate, residual                     273      496
//     fc1, GELU, pre-activations kept          395      643
//     fc2, gate, residual                      543      663
//     fc2 dgrad, GELU', bias gradient          275      590
//     fc1 dgrad                                674      728
// A cluster of two blocks that share B by multicast, which takes a quarter off the traffic from L2, was no faster (736 at the last, 604
// at fc2): what limits the main loop is the power that the chip may take.
//
// The order of a sum is fixed: k upwards, 16 at a time.
#include <algorithm>

#include "cuda/gemm_sm90_finish.cuh"
#include "cuda/gemm_sm90_slabs.cuh"
#include "cuda/gemm_tile_place.cuh"
#include "cuda/launch.h"
#include "cuda/ptx_prefetch.h"
#include "cuda/tensor_map.h"

namespace repa::cuda {

namespace {

constexpr int kColumns = kTileColumns, kDepth = 64;
constexpr int kConsumers = 2, kWarpgroup = 128, kConsumerWarps = 4 * kConsumers;
constexpr int kThreads = (kConsumers + 1) * kWarpgroup;
constexpr int kTurnBarrier = 1, kFinishBarrier = 3;  // and the next: one for each consumer; 0 is __syncthreads'
constexpr int kProducerRegisters = 40, kConsumerRegisters = 232;
constexpr int kLine = 64;                        // elements in a line of 128 bytes
constexpr int kBoxBytes = kLine * kDepth * 2;    // of 64 rows: what an MN-major operand is copied in
// Stages and what the epilogue has of shared memory share these; column sums and barriers follow.
constexpr int kColumnSumsAt = 224 * 1024;
constexpr int kBarriersAt = kColumnSumsAt + 4 * kConsumerWarps * kHalfColumns;
constexpr int kMostStages = 6;
constexpr int kSharedBytes = kBarriersAt + (2 * kMostStages + kConsumers * kArrivals) * 8;
static_assert(kSharedBytes <= 227 * 1024);

/// How the consumers share the work.
template <GemmLayout layout, Finish finish>
struct Work {
  static constexpr int rows = tileRowsSm90(layout);
  static constexpr bool inTurns = rows == 128;
  static constexpr int bytesA = rows * kDepth * 2, bytesB = kColumns * kDepth * 2, stageBytes = bytesA + bytesB;
  /// A direct finish has its staging for each consumer, a general one 16 rows x 64 columns for each warp.
  static constexpr int finishBytes = finish == Finish::general || !inTurns ? kConsumerWarps * kSlabBytes : kConsumers * kStagingBytes<finish>;
  static constexpr int finishAt = kColumnSumsAt - finishBytes;
  static constexpr int stages = finishAt / stageBytes;
  static constexpr int readers = inTurns ? kConsumerWarps / kConsumers : kConsumerWarps;  // warps that read a stage, and that finish a tile
  static constexpr int bandRows = 2048 / rows;
  static_assert(stages <= kMostStages && (inTurns || rows == 128 * kConsumers));
};

struct Maps {
  CUtensorMap a, b;
  FinishMaps finish;
};

struct Sm90Group {
  GemmGroup group;
  int tiles;
  Maps maps[GemmGroup::kMost];
};

/// A stage, and the parity of its phase.
template <int stages>
struct Pipeline {
  int stage = 0;
  unsigned parity = 0;
  __device__ __forceinline__ void next() {
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
  /// Passes over what another consumer reads.
  __device__ __forceinline__ void skip(int steps) {
    const int at = stage + steps;
    parity ^= at / stages & 1;
    stage = at % stages;
  }
  __device__ __forceinline__ int before() const { return stage == 0 ? stages - 1 : stage - 1; }
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

/// The descriptor of an operand from row firstRow (a multiple of 64) on: the same in either form, for 64 rows fill a box.
__device__ __forceinline__ MatrixDescriptor operandDescriptor(const unsigned char* operand, int firstRow) {
  // Eight lines of 128 bytes lie one after the other; MN-major, 64 more rows are a box further.
  return matrixDescriptor(operand + firstRow * kDepth * 2, kBoxBytes, 1024, Swizzle::bytes128);
}
/// How far the next 16 of k are.
template <Major major>
constexpr unsigned kStepBytes = major == Major::k ? 32 : 16 * 128;

/// What the epilogue reads of a tile beside the sums, if it is a matrix as large as C: brought into L2 while the tile is multiplied, row by
/// row, so that the epilogue does not wait for DRAM.
class BesidePrefetch {
 public:
  __device__ __forceinline__ BesidePrefetch(const GemmProblem& problem, int elementBytes, int firstRow, int firstColumn) {
    const GemmArgs& args = problem.args;
    const GemmEpilogue& e = args.epilogue;
    const void* from = nullptr;
    int64_t stride = 0;
    switch (e.kind) {
      case GemmEpilogueKind::none:
        if (args.accumulate) from = args.c, stride = 4 * args.ldc;
        elementBytes = 4;
        break;
      case GemmEpilogueKind::biasGatedResidual:
        from = e.residual, stride = 4 * e.residualStride;
        elementBytes = 4;
        break;
      case GemmEpilogueKind::siluBackward:
      case GemmEpilogueKind::geluTanhBackward:
      case GemmEpilogueKind::geluErfBackward:
      case GemmEpilogueKind::quickGeluBackward: from = e.aux, stride = elementBytes * e.auxStride; break;
      default: break;
    }
    bytes_ = static_cast<unsigned>(min(kColumns, static_cast<int>(args.n) - firstColumn) * elementBytes) & ~15u;
    if (!from || !problem.wide || bytes_ == 0) return;
    rows_ = min(128, static_cast<int>(args.m) - firstRow);
    stride_ = stride;
    row_ = static_cast<const char*>(from) + firstRow * stride + firstColumn * elementBytes;
  }

  /// The next of the rows, as many as come on one of `steps` steps.
  __device__ __forceinline__ void next(int steps) {
    for (int i = 0; i < rows_ && i * steps < 128; ++i, --rows_, row_ += stride_) prefetchToL2(row_, bytes_);
  }

 private:
  const char* row_ = nullptr;
  int64_t stride_ = 0;
  int rows_ = 0;
  unsigned bytes_ = 0;
};

template <class T, GemmLayout layout, Finish finish>
__global__ void __launch_bounds__(kThreads, 1) gemmSm90Kernel(const __grid_constant__ Sm90Group launched) {
  using Share = Work<layout, finish>;
  constexpr Major majorA = layout == GemmLayout::weightGradient ? Major::mn : Major::k;
  constexpr Major majorB = layout == GemmLayout::forward ? Major::k : Major::mn;
  REPA_DYNAMIC_SHARED(shared);
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + kBarriersAt);
  uint64_t* const empty = full + Share::stages;
  uint64_t* const arrived = full + 2 * kMostStages;  // of each consumer: what its epilogue has asked for
  const GemmGroup& group = launched.group;
  const int warpgroup = threadIdx.x / kWarpgroup;
  const int firstTile = static_cast<int>(blockIdx.x), everyTile = static_cast<int>(gridDim.x);
  if (threadIdx.x == 0) {
    for (int stage = 0; stage < Share::stages; ++stage) {
      mbarrierInit(&full[stage], 1);
      mbarrierInit(&empty[stage], Share::readers);
    }
    for (int i = 0; i < kConsumers * kArrivals; ++i) mbarrierInit(&arrived[i], 1);
    fenceMbarrierInit();
  }
  __syncthreads();

  Pipeline<Share::stages> pipeline;
  if (warpgroup == kConsumers) {
    decreaseRegisters<kProducerRegisters>();
    if (threadIdx.x == kConsumers * kWarpgroup) {
      for (int tile = firstTile; tile < launched.tiles; tile += everyTile) {
        const TilePlace place = tilePlace<Share::bandRows>(group, tile);
        const Span span(group.problems[place.problem], place.split);
        const Maps& maps = launched.maps[place.problem];
        const int firstRow = place.row * Share::rows, firstColumn = place.column * kColumns;
        BesidePrefetch beside(group.problems[place.problem], sizeof(T), firstRow, firstColumn);
        for (int step = 0; step < span.steps; ++step) {
          mbarrierWait(&empty[pipeline.stage], pipeline.parity ^ 1);
          unsigned char* const stage = shared + pipeline.stage * Share::stageBytes;
          uint64_t* const barrier = &full[pipeline.stage];
          const int k = span.first + step * kDepth;
          mbarrierArriveExpect(barrier, Share::stageBytes);
          copyOperand<majorA, Share::rows>(stage, &maps.a, barrier, firstRow, k);
          copyOperand<majorB, kColumns>(stage + Share::bytesA, &maps.b, barrier, firstColumn, k);
          pipeline.next();
          if (Share::inTurns && finish == Finish::general) beside.next(span.steps);
        }
      }
    }
    return;
  }

  increaseRegisters<kConsumerRegisters>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;  // of the consumers' eight
  const int rowsBefore = Share::inTurns ? 0 : 128 * warpgroup;   // this warpgroup's within the tile
  float* const columnSums = reinterpret_cast<float*>(shared + kColumnSumsAt);
  DirectFinish<finish, T> direct({.warp = warp % 4,
                                        .lane = lane,
                                        .barrier = kFinishBarrier + warpgroup,
                                        .staging = shared + Share::finishAt + warpgroup * kStagingBytes<finish>,
                                        .arrived = arrived + warpgroup * kArrivals,
                                        .columnSums = columnSums + 4 * warpgroup * kHalfColumns});
  int turn = 0;
  for (int tile = firstTile; tile < launched.tiles; tile += everyTile) {
    const TilePlace place = tilePlace<Share::bandRows>(group, tile);
    const GemmProblem& problem = group.problems[place.problem];
    const Span span(problem, place.split);
    if (Share::inTurns && turn++ % kConsumers != warpgroup) {
      pipeline.skip(span.steps);
      continue;
    }
    const Maps& maps = launched.maps[place.problem];
    const int m = static_cast<int>(problem.args.m);
    const int partRows = place.split * m;  // C has m rows for each part of a sum that is cut
    const int firstRow = partRows + place.row * Share::rows + rowsBefore, firstColumn = place.column * kColumns;
    direct.begin(maps.finish, firstRow, firstColumn);
    float sums[2][64];
    // A consumer enters its main loop when the other has left its own: so the multiplications of tiles come one after the other, and no
    // consumer ever waits for a phase of full[] but the one after the last that somebody has seen.
    if (Share::inTurns && tile != firstTile) namedBarrierSync(kTurnBarrier + warpgroup, kConsumers * kWarpgroup);
    if (span.steps == 0) {
#pragma unroll
      for (int i = 0; i < 64; ++i) sums[0][i] = sums[1][i] = 0.0f;
    }
    for (int step = 0; step < span.steps; ++step) {
      mbarrierWait(&full[pipeline.stage], pipeline.parity);
      const unsigned char* const stage = shared + pipeline.stage * Share::stageBytes;
      const MatrixDescriptor a0 = operandDescriptor(stage, rowsBefore), a1 = operandDescriptor(stage, rowsBefore + 64);
      const MatrixDescriptor b = operandDescriptor(stage + Share::bytesA, 0);
      wgmmaFence();
#pragma unroll
      for (int k = 0; k < kDepth / 16; ++k) {
        const bool accumulate = step > 0 || k > 0;
        const MatrixDescriptor bk = advance(b, k * kStepBytes<majorB>);
        wgmma<T, kColumns, majorA, majorB>(sums[0], advance(a0, k * kStepBytes<majorA>), bk, accumulate);
        wgmma<T, kColumns, majorA, majorB>(sums[1], advance(a1, k * kStepBytes<majorA>), bk, accumulate);
      }
      wgmmaCommit();
      // The step before has been read by now: its stage may be filled again.
      wgmmaWait<1>();
      if (step > 0 && lane == 0) mbarrierArrive(&empty[pipeline.before()]);
      pipeline.next();
    }
    if (Share::inTurns && tile + everyTile < launched.tiles) namedBarrierArrive(kTurnBarrier + (1 - warpgroup), kConsumers * kWarpgroup);
    wgmmaWait<0>();
    wgmmaHold(sums[0]);
    wgmmaHold(sums[1]);
    if (span.steps > 0 && lane == 0) mbarrierArrive(&empty[pipeline.before()]);

    if constexpr (finish == Finish::general) {
      float* const slab = reinterpret_cast<float*>(shared + Share::finishAt) + warp * kSlabFloats;
      finishBySlabs<T, Share::inTurns>(sums, problem, slab, columnSums, warp, kFinishBarrier, firstRow, partRows + m, firstColumn, place.row);
    } else {
      direct.run(sums, problem, maps.finish, firstRow, partRows + m, firstColumn, place.row);
    }
  }
  direct.end();
}

/// An operand of `rows` rows by k, as it lies in memory.
CUtensorMap operandMap(const GemmArgs& args, const void* base, int64_t pitch, int64_t rows, bool kContiguous, int boxRows) {
  return kContiguous ? matrixMap(args.dtype, base, rows, args.k, pitch, boxRows, kDepth) : matrixMap(args.dtype, base, args.k, rows, pitch, kDepth, kLine);
}

template <class T, GemmLayout layout, Finish finish>
void launchTiles(cudaStream_t stream, const GemmGroup& group, int tiles, int multiprocessors) {
  Sm90Group launched{.group = group, .tiles = tiles, .maps = {}};
  for (int i = 0; i < group.count; ++i) {
    const GemmArgs& args = group.problems[i].args;
    Maps& maps = launched.maps[i];
    if (args.k > 0) {  // nobody copies otherwise, and an empty matrix has no map
      maps.a = operandMap(args, args.a, args.lda, args.m, layout != GemmLayout::weightGradient, tileRowsSm90(layout));
      maps.b = operandMap(args, args.b, args.ldb, args.n, layout == GemmLayout::forward, kColumns);
    }
    if (finish != Finish::general) maps.finish = finishMaps<finish>(args);
  }
  launch(stream, gemmSm90Kernel<T, layout, finish>,
         {.grid = dim3(static_cast<unsigned>(std::min(tiles, multiprocessors))), .block = dim3(kThreads), .sharedBytes = kSharedBytes}, launched);
}

/// How the products of a launch are finished: directly where all is aligned and the epilogue is one of those.
Finish finishOf(const GemmGroup& group) {
  for (int i = 0; i < group.count; ++i)
    if (!group.problems[i].wide || group.problems[i].args.n % 8 != 0) return Finish::general;
  const GemmArgs& args = group.problems[0].args;
  const GemmEpilogue& e = args.epilogue;
  const bool floats = args.cDType == DType::f32;
  const auto ifHalves = [&](Finish finish) { return floats ? Finish::general : finish; };
  switch (e.kind) {
    case GemmEpilogueKind::none:
    case GemmEpilogueKind::bias: return e.columnSums ? Finish::general : Finish::store;
    case GemmEpilogueKind::biasSilu: return ifHalves(Finish::silu);
    case GemmEpilogueKind::biasGeluTanh: return ifHalves(Finish::geluTanh);
    case GemmEpilogueKind::biasGeluErf: return ifHalves(Finish::geluErf);
    case GemmEpilogueKind::biasGatedResidual: {
      const bool oneGateATile = e.gateStride == 0 || e.rowsPerGate % kTileRows == 0 || e.rowsPerGate >= args.m;
      return floats && oneGateATile ? Finish::gatedResidual : Finish::general;
    }
    case GemmEpilogueKind::siluBackward: return ifHalves(Finish::siluBackward);
    case GemmEpilogueKind::geluTanhBackward: return ifHalves(Finish::geluTanhBackward);
    default: return Finish::general;
  }
}

template <class T>
void launchType(cudaStream_t stream, const GemmGroup& group, int tiles, int multiprocessors) {
  const Finish finish = finishOf(group);
  const auto go = [&]<GemmLayout layout, Finish of>() { launchTiles<T, layout, of>(stream, group, tiles, multiprocessors); };
  switch (group.problems[0].args.layout) {
    case GemmLayout::forward: {
      constexpr GemmLayout layout = GemmLayout::forward;
      switch (finish) {
        case Finish::store: return go.template operator()<layout, Finish::store>();
        case Finish::silu: return go.template operator()<layout, Finish::silu>();
        case Finish::geluTanh: return go.template operator()<layout, Finish::geluTanh>();
        case Finish::geluErf: return go.template operator()<layout, Finish::geluErf>();
        case Finish::gatedResidual: return go.template operator()<layout, Finish::gatedResidual>();
        default: return go.template operator()<layout, Finish::general>();
      }
    }
    case GemmLayout::inputGradient: {
      constexpr GemmLayout layout = GemmLayout::inputGradient;
      switch (finish) {
        case Finish::store: return go.template operator()<layout, Finish::store>();
        case Finish::siluBackward: return go.template operator()<layout, Finish::siluBackward>();
        case Finish::geluTanhBackward: return go.template operator()<layout, Finish::geluTanhBackward>();
        default: return go.template operator()<layout, Finish::general>();
      }
    }
    case GemmLayout::weightGradient:
      if (finish == Finish::store) return go.template operator()<GemmLayout::weightGradient, Finish::store>();
      return go.template operator()<GemmLayout::weightGradient, Finish::general>();
  }
}

}  // namespace

void launchGemmSm90(cudaStream_t stream, const GemmGroup& group, int tiles, int multiprocessors) {
  if (group.problems[0].args.dtype == DType::bf16) launchType<bf16>(stream, group, tiles, multiprocessors);
  else launchType<f16>(stream, group, tiles, multiprocessors);
}

}  // namespace repa::cuda
