// Hopper's products in wider tiles than the standard ones: 128 x 192 in turns and 128 x 256 together. By the table in gemm_sm90_kernel.cuh
// they ask less of shared memory and of L2 for as many multiply-adds, and CUTLASS gained by 128 x 256 on an H100 (its pull request 950). No
// chip has timed these yet, so nothing is computed in them but where REPA_GEMM names one, or leaves the choice to a measurement
// (gemm_choice.h).
#include "cuda/gemm_sm90_kernel.cuh"

namespace repa::cuda {

void launchWideGemmSm90(cudaStream_t stream, const GemmGroup& group, GemmTile tile, int tiles) {
  if (tile == kTile192) launchInTile<kTile192.rows, kTile192.columns>(stream, group, tiles);
  else launchInTile<kTile256.rows, kTile256.columns>(stream, group, tiles);
}

}  // namespace repa::cuda
