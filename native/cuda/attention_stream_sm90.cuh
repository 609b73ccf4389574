// What attention's streamed kernels of sm_90a share: a block stays for tile after tile, 128 rows of a head that stay in registers, 64 for each
// of two consuming warpgroups, while pieces of the head's other rows pass by through a ring in shared memory, which a third one fills.
#pragma once

#include <algorithm>

#include "cuda/attention_tile_sm90.cuh"
#include "cuda/launch.h"
#include "cuda/ptx_thread.h"
#include "cuda/resident_blocks.h"

namespace repa::cuda {

constexpr int kConsumers = 2, kThreads = (kConsumers + 1) * kWarpgroup, kConsumerWarps = kConsumers * kWarpgroup / 32;
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;  // of 168 at launch
constexpr int kBlock = 64, kRows = kConsumers * kBlock;           // of a consumer, of a tile

/// What there is to do: `blocks` tiles a head, for each of which `pieces` pass by.
struct Work {
  int tiles, blocks, pieces;
};

template <class Arguments>
Work workOf(const Arguments& a, int rowsOfPiece) {
  const int blocks = (a.tokens + kRows - 1) / kRows;
  return {.tiles = static_cast<int>(a.batch * a.heads * blocks), .blocks = blocks, .pieces = (a.tokens + rowsOfPiece - 1) / rowsOfPiece};
}

/// As many blocks as may be resident, if there are so many tiles.
inline LaunchShape shapeOf(const Work& work, size_t sharedBytes) {
  return {.grid = dim3(static_cast<unsigned>(std::min(work.tiles, residentBlocks()))),
          .block = dim3(kThreads),
          .sharedBytes = sharedBytes};
}

/// Where in a ring a piece lies, by its number since the launch began, and the parity of the phase in which it does.
template <int kStages>
struct PlaceInRing {
  int stage;
  unsigned parity;

  __device__ __forceinline__ explicit PlaceInRing(int piece) : stage(piece % kStages), parity(piece / kStages & 1) {}
};

/// A warp of a consumer has read what `empty` is about: by wgmma, all lanes of which have been waited for, or else before a __syncwarp().
__device__ __forceinline__ void release(uint64_t* empty) {
  if (readThread() % 32 == 0) mbarrierArrive(empty);
}

/// The first of the 16 rows of a tile that this consumer's warp works on.
__device__ __forceinline__ int firstRowOfWarp() { return 16 * (readThread() / 32); }

}  // namespace repa::cuda
