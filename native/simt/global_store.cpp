#include "simt/global_store.h"

#include <cstdint>
#include <string>

#include "simt/block.h"
#include "simt/failure.h"
#include "simt/sanitizer.h"
#include "simt/scheduler.h"

namespace repa::simt {

void checkGlobalStore(const void* address, size_t bytes, const Place& place) {
  Quiet quiet;
  if (reinterpret_cast<uintptr_t>(address) % bytes != 0)
    fail(place, "st.global of " + std::to_string(bytes) + " bytes takes an address that is a multiple of it; this is " +
                    describeAddress(address) + ".");
  if (inSharedMemory(*thread().block, address, bytes))
    fail(place, "st.global: the address, " + describeAddress(address) + ", is within the block's shared memory.");
}

}  // namespace repa::simt
