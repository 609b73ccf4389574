// Two token sequences as one, and apart again: a thread moves one unit of 16 bytes of the joined one, or one element where a run of a sample
// or a pointer is no whole number of them; neighbouring threads neighbouring units. Bound by memory.
#include "cuda/joined_tokens.h"

#include "cuda/blocks.h"
#include "cuda/divisor.h"
#include "cuda/kernel.h"
#include "cuda/launch.h"
#include "cuda/vector.h"

namespace repa::cuda {

namespace {

constexpr int kThreads = 256;

/// Units of a sample in both runs, and of all samples.
struct Runs {
  Divisor sample;
  int first;
  int count;
};

/// Where a unit of the joined sequence lies in its own run.
struct Place {
  bool isFirst;
  int64_t index;
};

__device__ __forceinline__ Place placeOf(const Runs& runs, int index) {
  const int64_t sample = runs.sample.divide(index), rest = runs.sample.value() - runs.first;
  const bool isFirst = index < runs.first;
  return {isFirst, isFirst ? sample * runs.first + index : sample * rest + index - runs.first};
}

/// first or rest may be null: zeros.
template <class Unit>
__global__ void __launch_bounds__(kThreads) joinTokensKernel(Runs runs, const Unit* first, const Unit* rest, Unit* out) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= runs.count) return;
  const Place at = placeOf(runs, static_cast<int>(index));
  const Unit* from = at.isFirst ? first : rest;
  out[index] = from ? from[at.index] : Unit{};
}

template <class Unit>
__global__ void __launch_bounds__(kThreads) splitTokensKernel(Runs runs, const Unit* x, Unit* first, Unit* rest) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= runs.count) return;
  const Place at = placeOf(runs, static_cast<int>(index));
  (at.isFirst ? first : rest)[at.index] = x[index];
}

/// run(Unit{}) for the widest unit of which both runs are whole numbers and to which all pointers are aligned.
template <class Run, class... Pointers>
void withUnit(int64_t firstBytes, int64_t restBytes, int64_t elementBytes, Run&& run, const Pointers*... pointers) {
  if (firstBytes % 16 == 0 && restBytes % 16 == 0 && aligned16(pointers...)) run(uint4{});
  else if (elementBytes == 4) run(uint32_t{});
  else run(uint16_t{});
}

template <class Unit>
Runs runsOf(int64_t batch, int64_t firstBytes, int64_t restBytes) {
  const int64_t bytes = firstBytes + restBytes, unit = sizeof(Unit);
  return {.sample = Divisor(bytes / unit), .first = static_cast<int>(firstBytes / unit), .count = static_cast<int>(batch * bytes / unit)};
}

LaunchShape shapeOf(const Runs& runs) { return {.grid = dim3(blocksFor(runs.count, kThreads)), .block = dim3(kThreads)}; }

}  // namespace

void joinTokens(cudaStream_t stream, const cpu::JoinTokensArgs& a, int64_t elementBytes) {
  withUnit(
      a.firstBytes, a.restBytes, elementBytes,
      [&](auto unit) {
        using Unit = decltype(unit);
        const Runs runs = runsOf<Unit>(a.batch, a.firstBytes, a.restBytes);
        launch(stream, joinTokensKernel<Unit>, shapeOf(runs), runs, static_cast<const Unit*>(a.first), static_cast<const Unit*>(a.rest),
               static_cast<Unit*>(a.out));
      },
      a.first, a.rest, a.out);
}

void splitTokens(cudaStream_t stream, const cpu::SplitTokensArgs& a, int64_t elementBytes) {
  withUnit(
      a.firstBytes, a.restBytes, elementBytes,
      [&](auto unit) {
        using Unit = decltype(unit);
        const Runs runs = runsOf<Unit>(a.batch, a.firstBytes, a.restBytes);
        launch(stream, splitTokensKernel<Unit>, shapeOf(runs), runs, static_cast<const Unit*>(a.x), static_cast<Unit*>(a.first),
               static_cast<Unit*>(a.rest));
      },
      a.x, a.first, a.rest);
}

}  // namespace repa::cuda
