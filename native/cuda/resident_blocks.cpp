#include "cuda/resident_blocks.h"

#include <cuda_runtime.h>

#include "cuda/shared_memory.h"
#include "cuda/side_stream.h"

namespace repa::cuda {

int residentBlocks() {
  constexpr int kTurns = 4;
  return deviceAttribute(cudaDevAttrMultiProcessorCount) * (SideStream::isAnyForked() ? kTurns : 1);
}

}  // namespace repa::cuda
