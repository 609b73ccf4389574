#include "simt/cluster.h"

#include <cstring>
#include <string>

#include "simt/block.h"
#include "simt/failure.h"
#include "simt/mbarrier.h"
#include "simt/scheduler.h"
#include "simt/wgmma.h"

namespace repa::simt {

namespace {

constexpr int rankShift = 24;  // above any offset in shared memory

struct Target {
  Block& block;
  unsigned char* address;
};

Target resolve(uint32_t address, size_t bytes, const Place& place) {
  Cluster& cluster = *thread().block->cluster;
  const size_t rank = address >> rankShift, offset = address & ((1u << rankShift) - 1);
  if (rank >= cluster.blocks.size() || offset + bytes > cluster.blocks[rank].sharedBytes)
    fail(place,
         "the address " + std::to_string(offset) + " of block " + std::to_string(rank) + " is outside of the cluster's shared memory.");
  Block& block = cluster.blocks[rank];
  if (offset % bytes)
    fail(place,
         "an access of " + std::to_string(bytes) + " bytes to a cluster's shared memory at " + std::to_string(offset) + " is misaligned.");
  if (block.alive == 0)
    fail(place, "block " + std::to_string(rank) +
                    " of the cluster has ended; its shared memory is gone. A barrier.cluster is missing at its end.");
  return {block, block.sharedMemory + offset};
}

}  // namespace

unsigned clusterRank() { return thread().block->rankInCluster; }
unsigned clusterBlocks() { return static_cast<unsigned>(thread().block->cluster->blocks.size()); }

uint32_t clusterAddress(const void* shared, unsigned rank, const Place& place) {
  Quiet quiet;
  const uint32_t offset = sharedWindowOffset(shared, place);
  if (rank >= clusterBlocks())
    fail(place, "mapa: the cluster has " + std::to_string(clusterBlocks()) + " blocks; there is no block " + std::to_string(rank) + ".");
  return rank << rankShift | offset;
}

void clusterRead(void* destination, uint32_t address, size_t bytes, const Place& place) {
  unsigned char* source = nullptr;
  {
    Quiet quiet;
    source = resolve(address, bytes, place).address;
    std::memcpy(destination, source, bytes);
  }
  tracedRead(source, bytes, __builtin_return_address(0));
}

void clusterWrite(uint32_t address, const void* source, size_t bytes, const Place& place) {
  unsigned char* destination = nullptr;
  {
    Quiet quiet;
    destination = resolve(address, bytes, place).address;
    std::memcpy(destination, source, bytes);
  }
  tracedWrite(destination, bytes, __builtin_return_address(0));
}

void clusterWriteAsync(uint32_t address, const void* source, size_t bytes, uint32_t barrier, const Place& place) {
  clusterWrite(address, source, bytes, place);
  Quiet quiet;
  if (address >> rankShift != barrier >> rankShift) fail(place, "st.async: the data and the mbarrier are in different blocks.");
  const Target target = resolve(barrier, 8, place);
  auto* word = reinterpret_cast<uint64_t*>(target.address);
  requireVisibleMbarrier(target.block, word, "st.async", place);
  mbarrierComplete(target.block, word, static_cast<uint32_t>(bytes), mbarrierPhase(target.block, word, place), place);
}

void clusterBarrierArrive(uint32_t barrier, const Place& place) {
  Quiet quiet;
  const Target target = resolve(barrier, 8, place);
  auto* word = reinterpret_cast<uint64_t*>(target.address);
  requireVisibleMbarrier(target.block, word, "an arrival from another block", place);
  mbarrierArriveAt(target.block, word, place);
}

}  // namespace repa::simt
