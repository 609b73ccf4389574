#include "simt/tma.h"

#include <cuda.h>

#include <cstring>
#include <string>

#include "simt/block.h"
#include "simt/device.h"
#include "simt/engine.h"
#include "simt/failure.h"
#include "simt/scheduler.h"

namespace repa::simt {

namespace {

constexpr uint64_t mapMark = 0x74656e736f726d61;
constexpr size_t chunk = 16;  // what swizzling moves

int swizzleBytes(int swizzle) { return swizzle == CU_TENSOR_MAP_SWIZZLE_NONE ? 0 : 16 << swizzle; }

/// Where the byte at `offset` of shared memory goes: bits 4.. are exchanged by bits 7.., one bit for 32 bytes, two for 64, three for 128.
/// The pattern hangs on the address, not on the tile (PTX ISA 5.5.6).
size_t swizzled(size_t offset, int swizzle) { return offset ^ ((offset >> 3) & ((size_t{1} << (4 + swizzle)) - chunk)); }

size_t boxBytes(const TensorMap& map) {
  size_t bytes = map.elementBytes;
  for (int d = 0; d < map.rank; ++d) bytes *= map.box[d];
  return bytes;
}

/// Calls visit(tile row's offset in the box, its address in the tensor or null where it lies outside, first and last + 1 element inside).
template <class Visit>
void forEachRow(const BulkCopy& copy, Visit visit) {
  const TensorMap& map = copy.map;
  const int64_t first = copy.at[0] < 0 ? -int64_t{copy.at[0]} : 0;
  const int64_t last = std::min<int64_t>(map.box[0], int64_t{map.extents[0]} - copy.at[0]);
  int index[maxTensorRank] = {};
  const size_t rowBytes = size_t{map.box[0]} * map.elementBytes;
  for (size_t offset = 0;; offset += rowBytes) {
    bool inside = first < last;
    unsigned char* row = map.base + int64_t{copy.at[0]} * map.elementBytes;
    for (int d = 1; d < map.rank; ++d) {
      const int64_t position = int64_t{copy.at[d]} + index[d];
      inside = inside && position >= 0 && position < map.extents[d];
      row += position * static_cast<int64_t>(map.strides[d]);
    }
    visit(offset, inside ? row : nullptr, static_cast<size_t>(first), static_cast<size_t>(last));
    int d = 1;
    while (d < map.rank && ++index[d] == map.box[d]) index[d++] = 0;
    if (d >= map.rank) return;
  }
}

const TensorMap& mapOf(const void* map, const Place& place) {
  if (reinterpret_cast<uintptr_t>(map) & 63) fail(place, "a tensor map stands at a multiple of 64 bytes.");
  const auto& tensor = *static_cast<const TensorMap*>(map);
  if (tensor.mark != mapMark) fail(place, "this is no tensor map: it was not made by cuTensorMapEncodeTiled.");
  return tensor;
}

BulkCopy begin(BulkCopy::Kind kind, const void* map, const void* shared, const int* at, int rank, const Place& place) {
  Thread& self = thread();
  BulkCopy copy = {};
  copy.kind = kind;
  copy.map = mapOf(map, place);
  copy.shared = static_cast<unsigned char*>(const_cast<void*>(shared));
  copy.block = self.block;
  copy.thread = &self;
  copy.place = place;
  if (copy.map.rank != rank)
    fail(place, "the tensor map has " + std::to_string(copy.map.rank) + " dimensions; the instruction gives " + std::to_string(rank) +
                    " coordinates.");
  for (int d = 0; d < rank; ++d) copy.at[d] = at[d];
  // The manual does not say so; Hopper answers with an illegal instruction.
  if (int64_t{at[0]} * copy.map.elementBytes % 16 != 0)
    fail(place, "a TMA box begins at a multiple of 16 bytes of the tensor's rows; this one begins at element " + std::to_string(at[0]) +
                    " of " + std::to_string(copy.map.elementBytes) + " bytes.");
  // Nor this: to a store at (-8, -3) an H200 answers so, to a load there with zeros.
  if (kind == BulkCopy::Kind::store)
    for (int d = 0; d < rank; ++d)
      if (at[d] < 0) fail(place, "a TMA store begins within the tensor; this one begins at " + std::to_string(at[d]) + " in dimension " + std::to_string(d) + ".");
  const size_t offset = copy.shared - self.block->sharedMemory;
  const bool dynamic = copy.shared >= self.block->sharedMemory && offset <= self.block->sharedBytes;
  if ((dynamic ? offset : reinterpret_cast<uintptr_t>(shared)) & 127)
    fail(place, "a TMA tile stands at a multiple of 128 bytes of shared memory; this one is at " + describeAddress(shared) + ".");
  if (!inSharedMemory(*self.block, shared, boxBytes(copy.map)))
    fail(place, "the TMA tile of " + std::to_string(boxBytes(copy.map)) + " bytes at " + describeAddress(shared) +
                    " is not within the block's shared memory.");
  // One object for each of the transfers that may be under way at a time.
  static char syncs[1024];
  static unsigned next = 0;
  copy.sync = &syncs[next++ % sizeof syncs];
  return copy;
}

/// The address in another block of the cluster that corresponds to one of this block.
template <class T>
T* inBlock(const BulkCopy& copy, const Block& block, T* address) {
  if (&block == copy.block) return address;
  return reinterpret_cast<T*>(block.sharedMemory + (reinterpret_cast<unsigned char*>(address) - copy.block->sharedMemory));
}

/// Shared memory's offsets, which swizzling goes by; static variables are aligned like their addresses.
size_t sharedOffset(const Block& block, const unsigned char* address) {
  const bool dynamic = address >= block.sharedMemory && address <= block.sharedMemory + block.sharedBytes;
  return dynamic ? address - block.sharedMemory : reinterpret_cast<uintptr_t>(address);
}

void landLoad(const BulkCopy& copy) {
  const TensorMap& map = copy.map;
  const size_t rowBytes = size_t{map.box[0]} * map.elementBytes;
  unsigned char row[256 * 16];
  for (Block& block : copy.block->cluster->blocks) {
    if (!(copy.destinations >> block.rankInCluster & 1)) continue;
    unsigned char* tile = inBlock(copy, block, copy.shared);
    const size_t base = sharedOffset(block, tile);
    forEachRow(copy, [&](size_t offset, const unsigned char* source, size_t first, size_t last) {
      {
        Quiet quiet;
        std::memset(row, map.nanFill ? 0xff : 0, rowBytes);
        if (source) std::memcpy(row + first * map.elementBytes, source + first * map.elementBytes, (last - first) * map.elementBytes);
        for (size_t byte = 0; byte < rowBytes; byte += chunk)
          std::memcpy(tile + (swizzled(base + offset + byte, map.swizzle) - base), row + byte, chunk);
      }
      if (source) tracedRead(source + first * map.elementBytes, (last - first) * map.elementBytes, copy.pc);
    });
    tracedWrite(tile, boxBytes(map), copy.pc);
    mbarrierComplete(block, inBlock(copy, block, copy.barrier), static_cast<uint32_t>(boxBytes(map)), copy.issuePhase[block.rankInCluster],
                     copy.place);
  }
}

void landStore(const BulkCopy& copy) {
  const TensorMap& map = copy.map;
  const size_t rowBytes = size_t{map.box[0]} * map.elementBytes;
  const size_t base = sharedOffset(*copy.block, copy.shared);
  unsigned char row[256 * 16];
  tracedRead(copy.shared, boxBytes(map), copy.pc);
  forEachRow(copy, [&](size_t offset, unsigned char* destination, size_t first, size_t last) {
    if (!destination) return;
    {
      Quiet quiet;
      for (size_t byte = 0; byte < rowBytes; byte += chunk)
        std::memcpy(row + byte, copy.shared + (swizzled(base + offset + byte, map.swizzle) - base), chunk);
      std::memcpy(destination + first * map.elementBytes, row + first * map.elementBytes, (last - first) * map.elementBytes);
    }
    tracedWrite(destination + first * map.elementBytes, (last - first) * map.elementBytes, copy.pc);
  });
}

}  // namespace

void landBulkCopy(const BulkCopy& copy) {
  // Apart, or a store would be ordered by what the thread has seen that issued a load.
  static void *loading = nullptr, *storing = nullptr;
  const AsEngine copyEngine(copy.kind == BulkCopy::Kind::load ? loading : storing, *copy.block->cluster);
  acquire(copy.sync);
  copy.kind == BulkCopy::Kind::load ? landLoad(copy) : landStore(copy);
  if (copy.kind != BulkCopy::Kind::store) return;
  release(copy.sync);
  copy.thread->bulkStores.landed.push_back({copy.group, copy.sync});
}

void tmaLoad(void* shared, const void* map, uint64_t* barrier, const int* at, int rank, uint16_t multicast, const Place& place) {
  void* pc = __builtin_return_address(0);
  unsigned char* tiles[maxClusterBlocks] = {};
  size_t bytes = 0;
  char* sync = nullptr;
  {
    Quiet quiet;
    BulkCopy copy = begin(BulkCopy::Kind::load, map, shared, at, rank, place);
    Cluster& cluster = *copy.block->cluster;
    copy.pc = pc;
    copy.barrier = barrier;
    cluster.usesAsyncProxy = true;
    copy.destinations = multicast ? multicast : static_cast<uint16_t>(1u << copy.block->rankInCluster);
    if (copy.destinations >> cluster.blocks.size())
      fail(place, "the multicast mask names blocks that the cluster of " + std::to_string(cluster.blocks.size()) + " does not have.");
    if (cluster.blocks.size() > 1 &&
        !(copy.shared >= copy.block->sharedMemory && copy.shared < copy.block->sharedMemory + copy.block->sharedBytes))
      fail(place, "under the shim a kernel that runs in clusters loads into dynamic shared memory only.");
    bytes = boxBytes(copy.map);
    for (Block& block : cluster.blocks) {
      if (!(copy.destinations >> block.rankInCluster & 1)) continue;
      requireVisibleMbarrier(block, inBlock(copy, block, barrier), "a TMA load", place);
      copy.issuePhase[block.rankInCluster] = mbarrierPhase(block, inBlock(copy, block, barrier), place);
      tiles[block.rankInCluster] = inBlock(copy, block, copy.shared);
      std::memset(tiles[block.rankInCluster], 0xff, bytes);
    }
    cluster.inFlight.push_back(copy);
    sync = copy.sync;
  }
  for (unsigned char* tile : tiles)
    if (tile) tracedWrite(tile, bytes, pc);
  release(sync);
}

void tmaStore(const void* map, const void* shared, const int* at, int rank, const Place& place) {
  Quiet quiet;
  BulkCopy copy = begin(BulkCopy::Kind::store, map, shared, at, rank, place);
  copy.pc = __builtin_return_address(0);
  copy.group = thread().bulkStores.group;
  {
    const AsAsyncSide side;
    release(copy.sync);
  }
  copy.block->cluster->inFlight.push_back(copy);
}

void tmaCheckMap(const void* map, const Place& place) { mapOf(map, place); }

void bulkCommit() { ++thread().bulkStores.group; }

void bulkWait(int newest) {
  Thread& self = thread();
  const auto isOlder = [&](unsigned group) { return static_cast<int>(self.bulkStores.group - group) > newest; };
  std::vector<BulkCopy>& inFlight = self.block->cluster->inFlight;
  for (size_t i = 0; i < inFlight.size();) {
    const bool waited = inFlight[i].kind == BulkCopy::Kind::store && inFlight[i].thread == &self && isOlder(inFlight[i].group);
    if (!waited) {
      ++i;
      continue;
    }
    const BulkCopy copy = inFlight[i];
    inFlight.erase(inFlight.begin() + static_cast<ptrdiff_t>(i));
    landBulkCopy(copy);
  }
  // Also those that the engine has made of its own accord before.
  std::erase_if(self.bulkStores.landed, [&](const LandedStore& store) {
    if (!isOlder(store.group)) return false;
    acquire(store.sync);
    return true;
  });
}

void* driverFunction(const char* symbol) {
  return std::strcmp(symbol, "cuTensorMapEncodeTiled") == 0 ? reinterpret_cast<void*>(&cuTensorMapEncodeTiled) : nullptr;
}

namespace {

int elementBytes(CUtensorMapDataType type) {
  switch (type) {
    case CU_TENSOR_MAP_DATA_TYPE_UINT8: return 1;
    case CU_TENSOR_MAP_DATA_TYPE_UINT16:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT16:
    case CU_TENSOR_MAP_DATA_TYPE_BFLOAT16: return 2;
    case CU_TENSOR_MAP_DATA_TYPE_UINT64:
    case CU_TENSOR_MAP_DATA_TYPE_INT64:
    case CU_TENSOR_MAP_DATA_TYPE_FLOAT64: return 8;
    default: return 4;
  }
}

}  // namespace

}  // namespace repa::simt

// The driver's conditions (CUDA driver API, cuTensorMapEncodeTiled), for tiles without interleaving.
CUresult cuTensorMapEncodeTiled(CUtensorMap* tensorMap, CUtensorMapDataType type, cuuint32_t rank, void* base, const cuuint64_t* extents,
                                const cuuint64_t* strides, const cuuint32_t* box, const cuuint32_t* elementStrides,
                                CUtensorMapInterleave interleave, CUtensorMapSwizzle swizzle, CUtensorMapL2promotion,
                                CUtensorMapFloatOOBfill fill) {
  using namespace repa::simt;
  const auto multipleOf16 = [](uint64_t x) { return x % 16 == 0; };
  if (interleave != CU_TENSOR_MAP_INTERLEAVE_NONE || swizzle > CU_TENSOR_MAP_SWIZZLE_128B) return CUDA_ERROR_NOT_SUPPORTED;
  if (reinterpret_cast<uintptr_t>(tensorMap) & 63 || rank == 0 || rank > maxTensorRank || !multipleOf16(reinterpret_cast<uintptr_t>(base)))
    return CUDA_ERROR_INVALID_VALUE;
  TensorMap map = {};
  map.mark = mapMark;
  map.base = static_cast<unsigned char*>(base);
  map.rank = static_cast<uint8_t>(rank);
  map.elementBytes = static_cast<uint8_t>(elementBytes(type));
  map.swizzle = static_cast<uint8_t>(swizzle);
  map.nanFill = fill != CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
  map.strides[0] = map.elementBytes;
  for (cuuint32_t d = 0; d < rank; ++d) {
    if (extents[d] == 0 || extents[d] >= uint64_t{1} << 32 || box[d] == 0 || box[d] > 256) return CUDA_ERROR_INVALID_VALUE;
    if (elementStrides[d] != 1) return CUDA_ERROR_NOT_SUPPORTED;
    map.extents[d] = static_cast<uint32_t>(extents[d]);
    map.box[d] = static_cast<uint16_t>(box[d]);
    if (d == 0) continue;
    if (!multipleOf16(strides[d - 1]) || strides[d - 1] >= uint64_t{1} << 40) return CUDA_ERROR_INVALID_VALUE;
    // A dimension's stride takes in the dimension before.
    if (strides[d - 1] < (d == 1 ? extents[0] * map.elementBytes : strides[d - 2])) return CUDA_ERROR_INVALID_VALUE;
    map.strides[d] = strides[d - 1];
  }
  const size_t rowBytes = size_t{box[0]} * map.elementBytes;
  if (!multipleOf16(rowBytes) || (swizzle != CU_TENSOR_MAP_SWIZZLE_NONE && rowBytes > static_cast<size_t>(swizzleBytes(swizzle))))
    return CUDA_ERROR_INVALID_VALUE;
  std::memset(tensorMap, 0, sizeof *tensorMap);
  std::memcpy(tensorMap, &map, sizeof map);
  return CUDA_SUCCESS;
}
