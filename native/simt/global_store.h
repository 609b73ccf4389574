// st.global (PTX ISA 9.7.9.11).
#pragma once

#include <cstddef>

#include "simt/place.h"

namespace repa::simt {

/// It names the memory that it writes: on a chip an address of shared memory would be another one of global memory.
void checkGlobalStore(const void* address, size_t bytes, const Place& place);

}  // namespace repa::simt
