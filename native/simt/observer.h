// What is told of launches as they run, where something counts what kernels do (simt/traffic).
#pragma once

#include <cstddef>

namespace repa::simt {

struct Cluster;
struct Launch;

/// Called on the thread that runs the launch, which holds the mutex of launches.
class Observer {
 public:
  virtual ~Observer() = default;
  virtual void launchBegins(const Launch& launch) = 0;
  /// Its threads have ended, and its shared memory is there still.
  virtual void clusterEnds(const Cluster& cluster) = 0;
  virtual void launchEnds() = 0;
  /// The current thread's, by an instruction that the shim emulates, at `pc` in the kernel.
  virtual void access(const void* pc, const void* address, size_t bytes, bool store) = 0;
  /// ldmatrix or stmatrix at `pc` has gone `passes` times through the banks, for `matrices` matrices, of which each takes one at least.
  virtual void matricesPass(const void* pc, bool store, int matrices, int passes) = 0;
};

inline Observer* observer = nullptr;

}  // namespace repa::simt
