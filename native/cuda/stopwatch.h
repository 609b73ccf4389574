// How long the kernels of a stream take.
#pragma once

#include <algorithm>
#include <limits>

#include "cuda/check.h"

namespace repa::cuda {

/// Events that time what is enqueued between them.
class Stopwatch {
 public:
  explicit Stopwatch(cudaStream_t stream) : stream_(stream) {
    check(cudaEventCreateWithFlags(&began_, cudaEventDefault), "make an event");
    check(cudaEventCreateWithFlags(&ended_, cudaEventDefault), "make an event");
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    cudaEventDestroy(began_);
    cudaEventDestroy(ended_);
  }

  /// The least of several times, in milliseconds: what disturbs a measurement makes it longer.
  template <class Work>
  float least(Work work) {
    for (int i = 0; i < kWarmUps; ++i) work();
    float least = std::numeric_limits<float>::infinity();
    for (int i = 0; i < kMeasurements; ++i) {
      float milliseconds = 0;
      check(cudaEventRecord(began_, stream_), "record an event");
      work();
      check(cudaEventRecord(ended_, stream_), "record an event");
      check(cudaEventSynchronize(ended_), "wait for an event");
      check(cudaEventElapsedTime(&milliseconds, began_, ended_), "read a time");
      least = std::min(least, milliseconds);
    }
    return least;
  }

 private:
  static constexpr int kWarmUps = 1, kMeasurements = 3;
  cudaStream_t stream_;
  cudaEvent_t began_ = nullptr, ended_ = nullptr;
};

}  // namespace repa::cuda
