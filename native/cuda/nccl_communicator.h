// Processes that compute on a GPU each, of one machine or of several, joined by NCCL.
#pragma once

#include <memory>
#include <mutex>

#include "core/communicator.h"
#include "cuda/cuda_device.h"
#include "cuda/nccl_api.h"

namespace repa {

class NcclCommunicator final : public Communicator {
 public:
  /// A new id as hexadecimal digits, for all the processes.
  static std::string makeId();

  /// Waits for all processes. Throws Error(device) with NCCL's reason.
  NcclCommunicator(CudaDevice& device, const std::string& id, int rank, int size);
  ~NcclCommunicator() override;

  void allReduceSum(const std::vector<Tensor>& tensors) override;
  void reduceScatterSum(const Tensor& tensor, int64_t share) override;
  void allGather(const Tensor& tensor, int64_t share) override;
  void broadcast(const Tensor& tensor, int root) override;
  void abort(const std::string& reason) override;

 private:
  /// NCCL's, unless it was aborted.
  cuda::ncclComm_t communicator() const;

  CudaDevice& cuda_;
  const int rank_;
  mutable std::mutex mutex_;
  cuda::ncclComm_t communicator_ = nullptr;  // this and what follows guarded by mutex_
  std::string reason_;                       // of an abort
};

}  // namespace repa
