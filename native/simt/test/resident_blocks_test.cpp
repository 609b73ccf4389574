// How many blocks stay resident, alone and beside a stream of exchanges.
#include "cuda/resident_blocks.h"

#include <cuda_runtime.h>

#include "cuda/check.h"
#include "cuda/side_stream.h"
#include "simt/test/check.h"

namespace repa::cuda::test {

TEST(resident_blocks_take_turns_beside_another_stream) {
  cudaStream_t queue;
  check(cudaStreamCreateWithFlags(&queue, cudaStreamNonBlocking), "make a stream");
  const int alone = residentBlocks();
  {
    SideStream one, other;
    expect(residentBlocks() == alone, "streams that nothing was enqueued on count");
    one.forkFrom(queue);
    one.forkFrom(queue);
    other.forkFrom(queue);
    expect(residentBlocks() == 4 * alone, "there are " + std::to_string(residentBlocks()) + " of " + std::to_string(alone));
    one.joinTo(queue);
    expect(residentBlocks() == 4 * alone, "one of two was joined");
    other.joinTo(queue);
    other.joinTo(queue);
    expect(residentBlocks() == alone, "both were joined");
    one.forkFrom(queue);
  }
  expect(residentBlocks() == alone, "what is forked no more is gone");
  check(cudaStreamSynchronize(queue), "wait");
  cudaStreamDestroy(queue);
}

}  // namespace repa::cuda::test
