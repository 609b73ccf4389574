// Partial sums to sums. A block of 256 threads takes a strip of columns of one group: `lanes` threads share a column, each adds every
// lanes-th part in order, and a tree over shared memory joins them. Few parts: 256 columns and one thread each; many: 32 columns and 8.
//
// A group of thousands of parts (a bias's gradient where each token is a group, as in DiT-DH's head) would leave them to the few blocks of
// its columns. Its parts are added in runs before, 256 of them, each run into its own first part:
//
//     parts   0 1 2 ... r-1 | r r+1 ... 2r-1 | ...        a block a run and 256 columns
//             ^               ^                           what the pass above then adds, r parts apart
#include "cuda/partial_sums.h"

#include "cuda/blocks.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;
/// No more than leaves a row of 32 columns, 128 bytes, to a warp.
constexpr int kMostLanes = 8;
/// Of a group in one pass: up to 128 parts a thread.
constexpr int64_t kMostParts = 1024;
constexpr int64_t kRuns = 256;

struct Job {
  PartialSums sums;
  int64_t parts, partStride;  // what is left to be added
  int lanes;                  // threads that share a column: a power of two
  int strips;                 // of 256 / lanes columns each
  unsigned blocks;            // groups * strips
};

struct Jobs {
  Job of[kMostPartialSums];
};

__global__ void __launch_bounds__(kThreads) addRunsKernel(int64_t width, int strips, int runs, int64_t run, PartialSums sums) {
  const int64_t column = int64_t{blockIdx.x} % strips * kThreads + threadIdx.x, index = blockIdx.x / strips;
  const int64_t group = index / runs, first = index % runs * run;
  if (column >= width) return;
  float* at = sums.partials + (group * sums.parts + first) * width + column;
  const int64_t count = min(run, sums.parts - first);
  float sum = 0.0f;
#pragma unroll 4
  for (int64_t part = 0; part < count; ++part) sum += at[part * width];
  *at = sum;
}

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
    for (int64_t part = lane; part < job.parts; part += job.lanes) sum += at[part * job.partStride];
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

/// How many parts are together in each of a group's runs: by their number alone, so that results do not depend on the chip.
int64_t runOf(int64_t parts) { return parts > kMostParts ? (parts + kRuns - 1) / kRuns : 1; }

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
    const int64_t run = runOf(sums[i].parts), parts = (sums[i].parts + run - 1) / run;
    if (run > 1 && sums[i].groups > 0) {
      const unsigned strips = blocksFor(width, kThreads);
      launch(stream, addRunsKernel, {.grid = dim3(blocksFor(sums[i].groups * parts * strips, 1)), .block = dim3(kThreads)}, width,
             static_cast<int>(strips), static_cast<int>(parts), run, sums[i]);
    }
    int lanes = 1;
    while (lanes < kMostLanes && 2 * lanes <= parts) lanes *= 2;
    const int64_t columns = kThreads / lanes;
    const int strips = static_cast<int>((width + columns - 1) / columns);
    Job& job = jobs.of[jobsOfLaunch++];
    job = {sums[i], parts, run * width, lanes, strips, static_cast<unsigned>(sums[i].groups * strips)};
    blocks += job.blocks;
  }
  launchJobs();
}

}  // namespace repa::cuda
