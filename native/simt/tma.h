// The tensor memory accelerator: cp.async.bulk.tensor (PTX ISA 9.7.9.27.1) in tiled mode, and the encoder of its tensor maps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "simt/place.h"

namespace repa::simt {

struct Block;
struct Thread;

constexpr int maxTensorRank = 5;
constexpr int maxClusterBlocks = 8;

/// What a CUtensorMap holds here.
struct TensorMap {
  uint64_t mark;
  unsigned char* base;
  uint64_t strides[maxTensorRank];  // bytes
  uint32_t extents[maxTensorRank];
  uint16_t box[maxTensorRank];
  uint8_t rank;
  uint8_t elementBytes;
  uint8_t swizzle;  // CUtensorMapSwizzle
  uint8_t nanFill;
};
static_assert(sizeof(TensorMap) <= 128);

/// A transfer under way.
struct BulkCopy {
  enum class Kind : uint8_t { load, store } kind;
  TensorMap map;
  int32_t at[maxTensorRank];
  unsigned char* shared;  // the tile, in the issuing block
  Block* block;
  Place place;
  void* pc;
  char* sync;  // what the engine's accesses come after
  // Loads:
  uint64_t* barrier;                      // in the issuing block
  uint16_t destinations;                  // blocks of the cluster, by rank
  unsigned issuePhase[maxClusterBlocks];  // of each destination's barrier
  // Stores:
  Thread* thread;
  unsigned group;
};

/// A store that the engine has made, and what comes after its accesses.
struct LandedStore {
  unsigned group;
  char* sync;
};

/// A thread's bulk stores.
struct BulkStores {
  unsigned group = 0;                // the number of the group that is being filled
  std::vector<LandedStore> landed;  // that the thread has not waited for yet
};

/// cp.async.bulk.tensor.shared::cluster.global. `multicast`: the blocks of the cluster that get the tile; 0 for this block alone.
void tmaLoad(void* shared, const void* map, uint64_t* barrier, const int* at, int rank, uint16_t multicast, const Place& place);
/// cp.async.bulk.tensor.global.shared::cta.
void tmaStore(const void* map, const void* shared, const int* at, int rank, const Place& place);
void tmaCheckMap(const void* map, const Place& place);
void bulkCommit();
/// Waits until at most `newest` of this thread's groups are under way. Here a store is done when its source has been read.
void bulkWait(int newest);

/// Performs a transfer, as the copy engine.
void landBulkCopy(const BulkCopy& copy);

}  // namespace repa::simt
