// The CPU device's one pool of threads.
//
// Not OpenMP: its pool crashes the process when a worker thread that loaded the addon ends, is missing in slim images,
// and spins so that a second busy process costs 4x. These threads spin for some tens of microseconds at most, then sleep.
#pragma once

#include <cstdint>

#include "core/function_ref.h"

namespace repa {

class ThreadPool {
 public:
  /// A pool of `threads` threads, of which the one that calls parallelFor is one: ThreadPool(1) starts none.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;

  /// Calls body(chunk, thread) once for every chunk in [0, chunks) and returns when all are done. Threads take chunks
  /// from a shared counter, so a core that is busy elsewhere simply takes fewer. `thread` in [0, threads()) names the
  /// running thread, for scratch memory. To keep results independent of the number of threads, cut the work into chunks
  /// by its size alone and never let a value depend on `thread`. Not re-entrant; `body` must not throw.
  void parallelFor(int64_t chunks, FunctionRef<void(int64_t chunk, int thread)> body);

 private:
  struct State;
  State* state_;  // its own
};

}  // namespace repa
