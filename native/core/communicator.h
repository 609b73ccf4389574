// Several processes that train one model: each has a device and a rank from 0 on, and they exchange tensors through a communicator.
#pragma once

#include <algorithm>
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

/// What lies in both of two ranges; where nothing does, as many elements as none or fewer.
inline ArenaRange inBoth(const ArenaRange& one, const ArenaRange& other) { return {std::max(one.begin, other.begin), std::min(one.end, other.end)}; }

/// One process's end of a group of processes. What it enqueues waits, on the device, for the same call of every other process.
class Communicator {
 public:
  Communicator(Device& device, int size) : device_(device), size_(size) {}
  /// On any thread; it may take as long as what is under way.
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  Device& device() const { return device_; }
  int size() const { return size_; }

  /// Enqueues: every tensor (f32, on the device) becomes its sum over the processes, the same bits in all of them.
  virtual void allReduceSum(const std::vector<Tensor>& tensors) = 0;
  /// Enqueues: of the tensor (f32 or f64) every share becomes that of the process that owns it.
  virtual void allGather(const Tensor& tensor, int64_t share) = 0;
  /// Enqueues: the tensor becomes that of process `root`.
  virtual void broadcast(const Tensor& tensor, int root) = 0;

  // What the two that follow begin comes behind all that the device was given before, and behind each other. What the device is given
  // afterwards may run before it, until awaitBegun(), and the tensor's memory is the caller's to hold until then.

  /// Of each of the ranges of the tensor (f32), what is this process's share becomes its sum over the processes. What else they hold means
  /// nothing any more.
  virtual void beginReduceSum(const Tensor& tensor, int64_t share, const std::vector<ArenaRange>& ranges) = 0;
  /// Of the tensor (f32) every share becomes that of the process that owns it.
  virtual void beginAllGather(const Tensor& tensor, int64_t share) = 0;
  /// What the device is given from here on runs after all that has begun.
  virtual void awaitBegun() = 0;
  /// What waits for the other processes ends, and the device is marked failed with this sentence.
  virtual void abort(const std::string& reason) = 0;

 private:
  Device& device_;
  int size_;
};

}  // namespace repa
