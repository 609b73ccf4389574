// Processes of one machine that compute on its CPU, joined through a piece of shared memory.
#pragma once

#include <memory>

#include "core/communicator.h"
#include "core/cpu_device.h"

namespace repa {

/// Sums are made in the order of the ranks, each element by one process alone, so all processes get the same bits at every run. All is done in
/// the device's order, also what only begins: the processes share the cores that would do it meanwhile.
class SharedMemoryCommunicator final : public Communicator {
 public:
  /// Makes the memory for `size` processes and returns its file, by which they open it. Throws Error(outOfMemory) where the machine has
  /// no room for it.
  static std::string create(int size);

  /// Waits for all processes, a minute at most; the file's name is gone then. Throws Error(device) where they do not come.
  SharedMemoryCommunicator(CpuDevice& device, const std::string& file, int rank, int size);
  ~SharedMemoryCommunicator() override;

  void allReduceSum(const std::vector<Tensor>& tensors) override;
  void allGather(const Tensor& tensor, int64_t share) override;
  void broadcast(const Tensor& tensor, int root) override;
  void beginReduceSum(const Tensor& tensor, int64_t share, const std::vector<ArenaRange>& ranges) override;
  void beginAllGather(const Tensor& tensor, int64_t share) override { allGather(tensor, share); }
  void awaitBegun() override {}
  void abort(const std::string& reason) override;

 private:
  class Segment;

  CpuDevice& cpu_;
  std::shared_ptr<Segment> segment_;  // enqueued work holds it too
};

}  // namespace repa
