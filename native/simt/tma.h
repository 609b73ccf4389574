// The tensor memory accelerator: cp.async.bulk.tensor (PTX ISA 9.7.9.27.1) in tiled mode, and the encoder of its tensor maps.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "simt/place.h"

namespace repa::simt {

struct Block;
struct Thread;

/// What a CUtensorMap holds here.
struct TensorMap {
  uint64_t mark;
  unsigned char* base;
  uint64_t strides[4];  // bytes, of dimensions 1 .. rank - 1
  uint32_t extents[5];
  uint16_t box[5];
  uint8_t elementStrides[5];
  uint8_t rank;
  uint8_t elementBytes;
  uint8_t swizzle;  // CUtensorMapSwizzle
  uint8_t nanFill;
  uint8_t dataType;
};
static_assert(sizeof(TensorMap) <= 128);

/// A transfer under way.
struct BulkCopy {
  enum class Kind : uint8_t { load, store } kind;
  TensorMap map;
  int32_t coordinates[5];
  unsigned char* shared;   // in the issuing block
  uint64_t* barrier;       // loads
  uint16_t multicast;      // ranks of the cluster that get the tile; loads
  Block* block;
  Thread* thread;          // stores: whose group it belongs to
  unsigned group;
  unsigned issuePhase[16];  // loads: the phase of each destination's barrier
  Place place;
  void* pc;
  char* sync;
};

/// A thread's bulk stores that it can wait for.
struct BulkStores {
  unsigned open = 0;       // number of the group that is being filled
  void clear() { open = 0; }
};

struct TmaLoad {
  const void* map;
  void* destination;
  uint64_t* barrier;
  int rank;
  int32_t coordinates[5];
  uint16_t multicast = 0;  // 0: this block alone
};

void tmaLoad(const TmaLoad& load, const Place& place);
void tmaStore(const void* map, const void* source, int rank, const int32_t* coordinates, const Place& place);
void bulkCommit();
void bulkWait(int newest, bool readOnly, const Place& place);

/// Performs a transfer. Called by the scheduler, as the copy engine.
void landBulkCopy(const BulkCopy& copy);

}  // namespace repa::simt
