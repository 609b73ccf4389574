// Other blocks of a cluster: their shared memory, by 32-bit addresses of the shared::cluster window (PTX ISA 5.1.7).
#pragma once

#include <cstddef>
#include <cstdint>

#include "simt/place.h"

namespace repa::simt {

unsigned clusterRank();
unsigned clusterBlocks();

/// mapa: the address in block `rank` that corresponds to `shared` in this block. Dynamic shared memory only.
uint32_t clusterAddress(const void* shared, unsigned rank, const Place& place);

void clusterRead(void* destination, uint32_t address, size_t bytes, const Place& place);
void clusterWrite(uint32_t address, const void* source, size_t bytes, const Place& place);
/// st.async: a write that completes bytes on a barrier of the same block.
void clusterWriteAsync(uint32_t address, const void* source, size_t bytes, uint32_t barrier, const Place& place);
void clusterBarrierArrive(uint32_t barrier, const Place& place);

}  // namespace repa::simt
