// Partial sums to sums. A block of 256 threads takes a strip of columns of one group: `lanes` threads share a column, each adds every
// lanes-th part in order, and a tree over shared memory joins them. Few parts: 256 columns and one thread each; many: 32 columns and 8.
#include "cuda/partial_sums.h"

#include "cuda/kernel.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
/// No more than leaves a row of 32 columns, 128 bytes, to a warp.
constexpr int kMostLanes = 8;

struct Job {
  PartialSums sums;
  int lanes;        // threads that share a column: a power of two
  int strips;       // of 256 / lanes columns each
  unsigned blocks;  // groups * strips
};

struct Jobs {
  Job of[kMostPartialSums];
};

__global__ void __launch_bounds__(kThreads) addPartialSumsKernel(int64_t width, Jobs jobs) {
  __shared__ float joined[kThreads];
  unsigned block = blockIdx.x;
  int index = 0;
  while (block >= jobs.of[index].blocks) block -= jobs.of[index++].blocks;
  const Job& job = jobs.of[index];

  const int64_t group = block / job.strips;
  const int columns = kThreads / job.lanes;
  const int64_t column = int64_t{block % job.strips} * columns + threadIdx.x % columns;
  const int lane = threadIdx.x / columns;

  float sum = 0.0f;
  if (column < width) {
    const float* at = job.sums.partials + group * job.sums.parts * width + column;
#pragma unroll 4
    for (int64_t part = lane; part < job.sums.parts; part += job.lanes) sum += at[part * width];
  }
  joined[threadIdx.x] = sum;
  for (int half = job.lanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (lane < half) joined[threadIdx.x] += joined[threadIdx.x + half * columns];
  }
  if (lane == 0 && column < width) {
    float* out = job.sums.out + group * job.sums.outStride + column;
    *out = job.sums.accumulate ? *out + joined[threadIdx.x] : joined[threadIdx.x];
  }
}

}  // namespace

void addPartialSums(cudaStream_t stream, int64_t width, const PartialSums* sums, int count) {
  if (width == 0) return;
  Jobs jobs = {};
  unsigned blocks = 0;
  int jobsOfLaunch = 0;
  const auto launchJobs = [&] {
    if (blocks > 0) launch(stream, addPartialSumsKernel, {.grid = dim3(blocks), .block = dim3(kThreads)}, width, jobs);
    blocks = 0;
    jobsOfLaunch = 0;
  };
  for (int i = 0; i < count; ++i) {
    for (int job = 0; job < jobsOfLaunch; ++job)
      if (jobs.of[job].sums.out == sums[i].out) {
        launchJobs();  // it adds to what this launch writes
        break;
      }
    int lanes = 1;
    while (lanes < kMostLanes && 2 * lanes <= sums[i].parts) lanes *= 2;
    const int64_t columns = kThreads / lanes;
    const int strips = static_cast<int>((width + columns - 1) / columns);
    Job& job = jobs.of[jobsOfLaunch++];
    job = {sums[i], lanes, strips, static_cast<unsigned>(sums[i].groups * strips)};
    blocks += job.blocks;
  }
  launchJobs();
}

}  // namespace repa::cuda
