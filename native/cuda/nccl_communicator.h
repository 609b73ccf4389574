// Processes that compute on a GPU each, of one machine or of several, joined by NCCL.
#pragma once

#include <memory>
#include <mutex>

#include "core/communicator.h"
#include "core/peer_watch.h"
#include "cuda/cuda_device.h"
#include "cuda/nccl_api.h"
#include "cuda/side_stream.h"

namespace repa {

/// All its calls are on a stream beside the device's queue, one behind the other, as those of one communicator have to be. What does not only
/// begin is waited for at once.
class NcclCommunicator final : public Communicator {
 public:
  /// A new id as hexadecimal digits, for all the processes.
  static std::string makeId();

  /// Waits for all processes. Throws Error(device) with NCCL's reason.
  NcclCommunicator(CudaDevice& device, const std::string& id, int rank, int size);
  /// Waits for what is under way, and until no graph holds an exchange of these processes.
  ~NcclCommunicator() override;

  void allReduceSum(const std::vector<Tensor>& tensors) override;
  void allGather(const Tensor& tensor, int64_t share) override;
  void broadcast(const Tensor& tensor, int root) override;
  void beginReduceSum(const Tensor& tensor, int64_t share, const std::vector<ArenaRange>& ranges) override;
  void beginAllGather(const Tensor& tensor, int64_t share) override;
  void awaitBegun() override;
  void abort(const std::string& reason) override;

 private:
  using Calls = FunctionRef<cuda::ncclResult_t(cuda::ncclComm_t joined, cudaStream_t stream)>;

  /// NCCL's, unless it was aborted.
  cuda::ncclComm_t communicator() const;
  /// Begins, behind the queue, what `calls` enqueues: a group of NCCL's. `what` it does, for an error's sentence.
  void begin(const char* operation, const char* what, Calls calls);

  /// What NCCL has found out by itself since it was last called, in a sentence; empty where nothing is wrong.
  std::string brokenBy();

  /// Ends what waits on the GPU for the others, and what is begun from here on; once.
  void letGo(const std::string& reason);

  CudaDevice& cuda_;
  const int rank_;
  cuda::SideStream side_;
  mutable std::mutex mutex_;
  cuda::ncclComm_t communicator_ = nullptr;  // this and what follows guarded by mutex_
  std::string reason_;                       // of an abort
  PeerWatch peers_;
};

}  // namespace repa
