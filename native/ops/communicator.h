// Several processes that train one model, each with its device: what they exchange. On a CPU through shared memory, on GPUs by NCCL.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/communicator.h"
#include "core/tensor.h"

namespace repa::ops {

/// What `size` processes that compute on devices of this kind will know each other by; made by one of them and passed on to all.
std::string communicatorId(Device& device, int64_t size);

/// Joins process `rank` of `size`, waiting for the others: not on a thread that has something else to do. The communicator's number.
int64_t openCommunicator(Device& device, const std::string& id, int64_t rank, int64_t size);

/// Enqueues: each of the tensors (f32 of any shape, contiguous, on the communicator's device) becomes its sum over the processes. All of them
/// make the same calls with the same sizes in the same order. On a CPU the sum is made in the order of the ranks; on GPUs in an order of NCCL's.
void allReduceSum(int64_t communicator, const std::vector<Tensor>& tensors);

/// What is called shares: of [n], process r's is the `share` elements from r * share on, and the last process's all that are left too.
///
/// Enqueues: of the tensor (f32 or f64), every share becomes that of the process that owns it.
void allGather(int64_t communicator, const Tensor& tensor, int64_t share);

/// Enqueues: the tensor (f32) becomes that of process `root`.
void broadcast(int64_t communicator, const Tensor& tensor, int64_t root);

/// Begins: of each of the ranges of the tensor (f32), pairs of begin and end, what is this process's share becomes its sum over the processes, in
/// the same orders as there; what else they hold means nothing any more. It comes behind all that the device was given before; what the device is
/// given afterwards may run before it, until awaitBegun(), and so long the tensor's memory may not be let go of.
void beginReduceSum(int64_t communicator, const Tensor& tensor, int64_t share, const std::vector<double>& ranges);

/// Begins likewise: of the tensor (f32), every share becomes that of the process that owns it.
void beginAllGather(int64_t communicator, const Tensor& tensor, int64_t share);

/// What the device is given from here on runs after all that has begun. Nothing of one that was taken: it has waited for it.
void awaitBegun(int64_t communicator);

/// What waits for other processes ends; the device is marked failed with `reason`, a sentence. Nothing of one that was taken.
void abortCommunicator(int64_t communicator, const std::string& reason);

/// Takes it from the open ones, to be let go of on any thread: that waits for what is enqueued, and until no graph holds a call of it. Null of one
/// that is closed already.
std::shared_ptr<Communicator> takeCommunicator(int64_t communicator);

}  // namespace repa::ops
