// Several processes that train one model: each has a device and a rank from 0 on, and they exchange tensors through a communicator.
#pragma once

#include <string>
#include <vector>

#include "core/arena_range.h"
#include "core/tensor.h"

namespace repa {

/// What process `rank` of `size` owns of so many elements that they divide: `share` of them from rank * share on, the last one all that
/// are left too.
inline ArenaRange shareOf(int64_t elements, int64_t share, int rank, int size) {
  return {rank * share, rank + 1 < size ? (rank + 1) * share : elements};
}

/// One process's end of a group of processes. What it enqueues waits, on the device, for the same call of every other process.
class Communicator {
 public:
  Communicator(Device& device, int size) : device_(device), size_(size) {}
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  Device& device() const { return device_; }
  int size() const { return size_; }

  /// Enqueues: every tensor (f32, on the device) becomes its sum over the processes, the same bits in all of them.
  virtual void allReduceSum(const std::vector<Tensor>& tensors) = 0;
  /// Enqueues: of the tensor (f32) this process's share becomes its sum over the processes. What else it holds means nothing any more.
  virtual void reduceScatterSum(const Tensor& tensor, int64_t share) = 0;
  /// Enqueues: of the tensor (f32 or f64) every share becomes that of the process that owns it.
  virtual void allGather(const Tensor& tensor, int64_t share) = 0;
  /// Enqueues: the tensor becomes that of process `root`.
  virtual void broadcast(const Tensor& tensor, int root) = 0;
  /// From any thread: what waits for the other processes ends, and the device is marked failed with this sentence.
  virtual void abort(const std::string& reason) = 0;

 private:
  Device& device_;
  int size_;
};

}  // namespace repa
