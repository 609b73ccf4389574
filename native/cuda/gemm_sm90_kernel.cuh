// Products of bf16 and f16 matrices on Hopper: TMA brings the operands, wgmma multiplies them, and a block stays for tile after tile.
//
// A block is three warpgroups, one that brings operands and two that multiply, in one of CUTLASS's two ways:
//
//                 in turns ("ping-pong")                 together ("cooperative")
//     producer    one thread: TMA ──▶ stages ──▶         the same
//     consumer 0  tiles 0, 2, 4 ...                      the upper half of every tile's rows
//     consumer 1  tiles 1, 3, 5 ...                      the lower half
//
// In turns, a tile's epilogue, which reads and writes global memory and evaluates activations, runs under the main loop of the next: with
// k = 1152 that is a third of the time. Together, a tile may be twice as large, for its sums lie in the registers of both.
//
// What a tile's shape costs. An SM makes 2048 multiply-adds a cycle at most. Meanwhile the TMA writes so many bytes into shared memory, and
// wgmma, which reads A and B anew for each 64 rows, so many; a byte from L2 serves for so many multiply-adds. Shared memory moves 128 bytes
// a cycle; that writes and reads share these is a supposition that no measurement has tried yet.
//
//     tile                          TMA    wgmma    both    multiply-adds a byte of L2
//     128 x 128    in turns          64       96     160      32
//     128 x 192    in turns          53       85     139      38
//     256 x 128    together          48       96     144      43
//     128 x 256    together          48       80     128      43
//
// Stages hold A rows x 64 and B columns x 64, as many as the epilogue leaves room for: 3 to 6 of 32 to 48 KiB. Barrier full[s] says that the
// TMA has filled one, empty[s] that its consumers have read it. Either operand may have k contiguous (K-major) or its rows (MN-major); the TMA
// lays both down in lines of 128 bytes, swizzled, as wgmma's descriptors take them:
//     K-major     [rows][64 of k]                    16 of k further: 32 bytes
//     MN-major    [rows / 64][64 of k][64 rows]      16 of k further: 16 lines
//
// Shared memory: 120 to 192 KiB of stages; what the epilogue stages, two or three places of 8 or 16 KiB a consumer (gemm_sm90_finish.cuh) or
// 4 KiB a warp (gemm_sm90_slabs.cuh); 64 column sums for each consumer warp, or there or behind the stages a tile's gate and bias; the
// barriers: 226 KiB of 227, one block on a multiprocessor.
// Registers: 168 at launch; the producer gives back, so that a consumer has 232 (240 with 192 sums a thread): its sums and the epilogue.
//
// The order of a sum is fixed, k upwards, 16 at a time: a result's bits do not depend on the tile.
#pragma once

#include <algorithm>
#include <utility>

#include "core/error_code.h"
#include "cuda/gemm_sm90.h"
#include "cuda/gemm_sm90_finish.cuh"
#include "cuda/gemm_sm90_slabs.cuh"
#include "cuda/gemm_tile_place.cuh"
#include "cuda/launch.h"
#include "cuda/ptx_prefetch.h"
#include "cuda/ptx_thread.h"
#include "cuda/resident_blocks.h"
#include "cuda/tensor_map.h"

namespace repa::cuda {

namespace {

constexpr int kDepth = 64;
constexpr int kConsumers = 2, kWarpgroup = 128, kConsumerWarps = 4 * kConsumers;
constexpr int kThreads = (kConsumers + 1) * kWarpgroup;
constexpr int kTurnBarrier = 1, kFinishBarrier = 3;  // and the next: one for each consumer; 0 is __syncthreads'
constexpr int kLine = 64;                        // elements in a line of 128 bytes
constexpr int kBoxBytes = kLine * kDepth * 2;    // of 64 rows: what an MN-major operand is copied in
// Stages and what the epilogue has of shared memory share these; column sums and barriers follow.
constexpr int kColumnSumsAt = 224 * 1024;
constexpr int kBarriersAt = kColumnSumsAt + 4 * kConsumerWarps * kStripColumns;
constexpr int kMostStages = 6;
constexpr int kSharedBytes = kBarriersAt + (2 * kMostStages + kConsumers * kArrivals) * 8;
static_assert(kSharedBytes <= 227 * 1024);

/// How the consumers share the work.
template <GemmLayout layout, Finish finish, int rows, int columns>
struct Work {
  static constexpr bool inTurns = rows * columns <= 128 * 192;
  static constexpr int consumerRows = inTurns ? rows : rows / kConsumers;
  static constexpr int bytesA = rows * kDepth * 2, bytesB = columns * kDepth * 2, stageBytes = bytesA + bytesB;
  /// A general finish has 16 rows x 64 columns for each warp; a weight gradient's direct one writes floats alone.
  static constexpr int finishBytes = finish == Finish::general             ? kConsumerWarps * kSlabBytes
                                     : layout == GemmLayout::weightGradient ? 0
                                                                            : kConsumers * kStagingBytes<finish, consumerRows>;
  static constexpr int finishAt = kColumnSumsAt - finishBytes;
  static constexpr int stages = std::min(finishAt / stageBytes, kMostStages);
  /// What a consumer lays down beside, of a tile's columns: their sums, or their gate and bias.
  static constexpr int columnFloats = finish == Finish::gatedResidual ? 2 * columns : 4 * kStripColumns;
  static constexpr int columnsAt = columnFloats <= 4 * kStripColumns ? kColumnSumsAt : stages * stageBytes;
  static_assert(columnsAt == kColumnSumsAt || columnsAt + kConsumers * columnFloats * 4 <= finishAt);
  static constexpr int readers = inTurns ? kConsumerWarps / kConsumers : kConsumerWarps;  // warps that read a stage, and that finish a tile
  static constexpr int bandRows = 2048 / rows;
  static constexpr int sums = consumerRows / 64 * columns / 2;  // of a thread
  static constexpr int producerRegisters = sums > 128 ? 24 : 40, consumerRegisters = sums > 128 ? 240 : 232;
  static_assert(stages >= 3 && consumerRows % 64 == 0 && columns % kStripColumns == 0);
  static_assert(finish != Finish::general || columns == kTileColumns, "slabs are of 128 x 128 sums");
  static_assert(inTurns || !kReadsPreActivations<finish>, "the consumers' column sums would be two for a row of tiles");
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

/// Steps through the stages, counted.
template <int stages>
struct Pipeline {
  unsigned steps = 0;
  __device__ __forceinline__ int stage() const { return static_cast<int>(steps % stages); }
  __device__ __forceinline__ int before() const { return static_cast<int>((steps - 1) % stages); }
  /// Of the stage's phase.
  __device__ __forceinline__ unsigned parity() const { return steps / stages & 1; }
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
    bytes_ = static_cast<unsigned>(min(kTileColumns, static_cast<int>(args.n) - firstColumn) * elementBytes) & ~15u;
    if (!from || !problem.wide || bytes_ == 0) return;
    rows_ = min(128, static_cast<int>(args.m) - firstRow);
    stride_ = stride;
    row_ = static_cast<const char*>(from) + firstRow * stride + firstColumn * elementBytes;
  }

  /// The next of the rows, as many as come on one of `steps` steps.
  __device__ __forceinline__ void next(int steps) {
    const int count = min(rows_, (128 + steps - 1) / steps);
    for (int i = 0; i < count; ++i, row_ += stride_) prefetchToL2(row_, bytes_);
    rows_ -= count;
  }

 private:
  const char* row_ = nullptr;
  int64_t stride_ = 0;
  int rows_ = 0;
  unsigned bytes_ = 0;
};

/// The first sums of a thread.
template <int count, int all>
__device__ __forceinline__ float (&firstOf(float (&sums)[all]))[count] {
  static_assert(count <= all);
  return reinterpret_cast<float(&)[count]>(sums);
}

template <class T, GemmLayout layout, Finish finish, int rows, int columns>
__global__ void __launch_bounds__(kThreads, 1) gemmSm90Kernel(const __grid_constant__ Sm90Group launched) {
  using Share = Work<layout, finish, rows, columns>;
  using Direct = DirectFinish<finish, T, Share::consumerRows, columns>;
  constexpr Major majorA = layout == GemmLayout::weightGradient ? Major::mn : Major::k;
  constexpr Major majorB = layout == GemmLayout::forward ? Major::k : Major::mn;
  REPA_DYNAMIC_SHARED(shared);
  uint64_t* const full = reinterpret_cast<uint64_t*>(shared + kBarriersAt);
  uint64_t* const empty = full + Share::stages;
  uint64_t* const arrived = full + 2 * kMostStages;  // of each consumer: what its epilogue has asked for
  const GemmGroup& group = launched.group;
  // From one lane: so the compiler knows that a warp's threads go the same way, and has stages and descriptors in uniform registers, which
  // wgmma takes them from.
  const int warpgroup = __shfl_sync(kAll, static_cast<int>(threadIdx.x) / kWarpgroup, 0);
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

  // Only weight gradients are more than one: the others' arguments are constants.
  const auto placeOf = [&](int tile) { return tilePlace<Share::bandRows, layout == GemmLayout::weightGradient ? GemmGroup::kMost : 1>(group, tile); };
  Pipeline<Share::stages> pipeline;
  if (warpgroup == kConsumers) {
    decreaseRegisters<Share::producerRegisters>();
    if (threadIdx.x == kConsumers * kWarpgroup) {
      for (int tile = firstTile; tile < launched.tiles; tile += everyTile) {
        const TilePlace place = placeOf(tile);
        const GemmProblem& problem = group.problems[place.problem];
        const Span span(problem, place.split);
        const Maps& maps = launched.maps[place.problem];
        const int firstRow = place.row * rows, firstColumn = place.column * columns;
        const auto bring = [&](int step) {
          mbarrierWait(&empty[pipeline.stage()], pipeline.parity() ^ 1);
          unsigned char* const stage = shared + pipeline.stage() * Share::stageBytes;
          uint64_t* const barrier = &full[pipeline.stage()];
          const int k = span.first + step * kDepth;
          mbarrierArriveExpect(barrier, Share::stageBytes);
          copyOperand<majorA, rows>(stage, &maps.a, barrier, firstRow, k);
          copyOperand<majorB, columns>(stage + Share::bytesA, &maps.b, barrier, firstColumn, k);
          ++pipeline.steps;
        };
        if constexpr (Share::inTurns && finish == Finish::general) {
          BesidePrefetch beside(problem, sizeof(T), firstRow, firstColumn);
          for (int step = 0; step < span.steps; ++step) {
            bring(step);
            beside.next(span.steps);
          }
        } else {
          for (int step = 0; step < span.steps; ++step) bring(step);
        }
      }
    }
    return;
  }

  increaseRegisters<Share::consumerRegisters>();
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;  // of the consumers' eight
  const int rowsBefore = Share::inTurns ? 0 : Share::consumerRows * warpgroup;  // this warpgroup's within the tile
  float* const ofColumns = reinterpret_cast<float*>(shared + Share::columnsAt);
  const auto finishPlace = [&] {
    const int thread = readThread(), consumer = thread / kWarpgroup;
    return FinishPlace{.thread = thread % kWarpgroup,
                       .barrier = kFinishBarrier + consumer,
                       .staging = shared + Share::finishAt + consumer * kStagingBytes<finish, Share::consumerRows>,
                       .arrived = arrived + consumer * kArrivals,
                       .ofColumns = ofColumns + consumer * Share::columnFloats};
  };
  const auto finishTile = [&](const TilePlace& place, int ordinal) {
    const GemmProblem& problem = group.problems[place.problem];
    const int m = static_cast<int>(problem.args.m);
    const int partRows = place.split * m;  // C has m rows for each part of a sum that is cut
    return FinishTile{.problem = problem,
                      .maps = launched.maps[place.problem].finish,
                      .firstRow = partRows + place.row * rows + (Share::inTurns ? 0 : readThread() / kWarpgroup * Share::consumerRows),
                      .endRow = partRows + m,
                      .firstColumn = place.column * columns,
                      .tileRow = place.row,
                      .round = ordinal / (Share::inTurns ? kConsumers : 1)};
  };
  for (int ordinal = 0, tile = firstTile; tile < launched.tiles; ++ordinal, tile += everyTile) {  // of the block's tiles
    const TilePlace place = placeOf(tile);
    const GemmProblem& problem = group.problems[place.problem];
    const Span span(problem, place.split);
    if (Share::inTurns && ordinal % kConsumers != warpgroup) {
      pipeline.steps += span.steps;
      continue;
    }
    const FinishTile to = finishTile(place, ordinal);
    // In turns, while the other multiplies; together, when the first multiplications are under way.
    if (Share::inTurns || span.steps == 0) Direct(finishPlace(), to).begin();
    typename Direct::Sums sums;
    // A consumer enters its main loop when the other has left its own: so the multiplications of tiles come one after the other, and no
    // consumer ever waits for a phase of full[] but the one after the last that somebody has seen.
    if (Share::inTurns && ordinal != 0) namedBarrierSync(kTurnBarrier + warpgroup, kConsumers * kWarpgroup);
    // Of the tile's first `used` columns.
    const auto multiply = [&]<int used>() {
      for (int step = 0; step < span.steps; ++step, ++pipeline.steps) {
        mbarrierWait(&full[pipeline.stage()], pipeline.parity());
        const unsigned char* const stage = shared + pipeline.stage() * Share::stageBytes;
        const MatrixDescriptor a = operandDescriptor(stage, rowsBefore), b = operandDescriptor(stage + Share::bytesA, 0);
        wgmmaFence();
#pragma unroll
        for (int k = 0; k < kDepth / 16; ++k) {
          const bool accumulate = step > 0 || k > 0;
          const MatrixDescriptor ak = advance(a, k * kStepBytes<majorA>), bk = advance(b, k * kStepBytes<majorB>);
#pragma unroll
          for (int f = 0; f < Direct::kLefts; ++f)
            wgmma<T, used, majorA, majorB>(firstOf<used / 2>(sums[f]), advance(ak, f * 64 * kDepth * 2), bk, accumulate);
        }
        wgmmaCommit();
        if (!Share::inTurns && step == 0) Direct(finishPlace(), to).begin();
        // The step before has been read by now: its stage may be filled again.
        wgmmaWait<1>();
        if (step > 0 && lane == 0) mbarrierArrive(&empty[pipeline.before()]);
      }
    };
    // The last tile of a row may have no more than half of the columns.
    if (columns > 192 && static_cast<int>(problem.args.n) - place.column * columns <= columns / 2) multiply.template operator()<columns / 2>();
    else multiply.template operator()<columns>();
    if (Share::inTurns && tile + everyTile < launched.tiles) namedBarrierArrive(kTurnBarrier + (1 - warpgroup), kConsumers * kWarpgroup);
    Direct(finishPlace(), to).prepare();
    wgmmaWait<0>();
#pragma unroll
    for (int f = 0; f < Direct::kLefts; ++f) wgmmaHold(sums[f]);
    if (span.steps > 0) {
      if (lane == 0) mbarrierArrive(&empty[pipeline.before()]);
    } else {
#pragma unroll
      for (int f = 0; f < Direct::kLefts; ++f) {
#pragma unroll
        for (int i = 0; i < Direct::kSums; ++i) sums[f][i] = 0.0f;
        wgmmaHold(sums[f]);  // else this were no branch, but a selection for each sum of every tile
      }
    }

    if constexpr (finish == Finish::general) {
      float* const slab = reinterpret_cast<float*>(shared + Share::finishAt) + warp * kSlabFloats;
      finishBySlabs<T, kEpiloguesOf<layout>, Share::inTurns>(sums, to, slab, ofColumns, warp, kFinishBarrier);
    } else {
      Direct(finishPlace(), to).run(sums);
    }
  }
  // Shared memory may be somebody else's afterwards.
  if (finish != Finish::general && readThread() % kWarpgroup == 0) bulkWaitRead<0>();
}

/// An operand of `rows` rows by k, as it lies in memory.
CUtensorMap operandMap(const GemmArgs& args, const void* base, int64_t pitch, int64_t rows, bool kContiguous, int boxRows) {
  return kContiguous ? matrixMap(args.dtype, base, rows, args.k, pitch, boxRows, kDepth) : matrixMap(args.dtype, base, args.k, rows, pitch, kDepth, kLine);
}

template <class T, GemmLayout layout, Finish finish, int rows, int columns>
void launchTiles(cudaStream_t stream, const GemmGroup& group, int tiles) {
  Sm90Group launched{.group = group, .tiles = tiles, .maps = {}};
  for (int i = 0; i < group.count; ++i) {
    const GemmArgs& args = group.problems[i].args;
    Maps& maps = launched.maps[i];
    if (args.k > 0) {  // nobody copies otherwise, and an empty matrix has no map
      maps.a = operandMap(args, args.a, args.lda, args.m, layout != GemmLayout::weightGradient, rows);
      maps.b = operandMap(args, args.b, args.ldb, args.n, layout == GemmLayout::forward, columns);
    }
    if (finish != Finish::general) maps.finish = finishMaps<finish, Work<layout, finish, rows, columns>::consumerRows>(args);
  }
  launch(stream, gemmSm90Kernel<T, layout, finish, rows, columns>,
         {.grid = dim3(static_cast<unsigned>(std::min(tiles, residentBlocks()))), .block = dim3(kThreads), .sharedBytes = kSharedBytes}, launched);
}

/// Launches the instance that the group is one of, among those that exist in this tile.
template <int rows, int columns>
void launchInTile(cudaStream_t stream, const GemmGroup& group, int tiles) {
  const GemmArgs& args = group.problems[0].args;
  const Finish finish = finishSm90(group);
  const auto launchIf = [&]<size_t index>() {
    constexpr Sm90Instance instance = kSm90Instances[index];
    if constexpr (hasTileSm90(instance, GemmTile{rows, columns})) {
      if (args.layout != instance.layout || finish != instance.finish) return false;
      if (args.dtype == DType::bf16) launchTiles<bf16, instance.layout, instance.finish, rows, columns>(stream, group, tiles);
      else launchTiles<f16, instance.layout, instance.finish, rows, columns>(stream, group, tiles);
      return true;
    }
    return false;
  };
  const bool launched = [&]<size_t... index>(std::index_sequence<index...>) {
    return (launchIf.template operator()<index>() || ...);
  }(std::make_index_sequence<std::size(kSm90Instances)>());
  if (!launched) throwError(ErrorCode::invalidArgument, "Hopper's products have no tile of %d x %d for this epilogue.", rows, columns);
}

}  // namespace

}  // namespace repa::cuda
