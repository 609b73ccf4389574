#include "ops/communicator.h"

#include <map>
#include <mutex>

#include "core/shared_memory_communicator.h"
#include "cuda/nccl_communicator.h"
#include "ops/arena_ranges.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

constexpr int64_t kMostProcesses = 4096;

struct Open {
  std::mutex mutex;
  std::map<int64_t, std::shared_ptr<Communicator>> communicators;
  int64_t next = 1;
};

/// Never destroyed: a thread of the process may still be joining.
Open& open() {
  static Open* const all = new Open;
  return *all;
}

std::shared_ptr<Communicator> find(int64_t number) {
  const std::lock_guard lock(open().mutex);
  const auto found = open().communicators.find(number);
  return found == open().communicators.end() ? nullptr : found->second;
}

std::shared_ptr<Communicator> get(const char* op, int64_t number) {
  auto communicator = find(number);
  require(communicator != nullptr, op, "there is no open communicator " + std::to_string(number) + ".");
  return communicator;
}

void requireSize(const char* op, int64_t size) {
  require(size >= 1 && size <= kMostProcesses, op, "size is " + std::to_string(size) + "; expected 1 to " + std::to_string(kMostProcesses) + " processes.");
}

void requireOwn(const char* op, const Communicator& communicator, const Tensor& tensor, DType dtype = DType::f32) {
  requireDType(op, "the tensor", tensor, dtype);
  if (&tensor.device() != &communicator.device())
    fail(ErrorCode::device, op, "a tensor is on " + tensor.device().name() + ", and the communicator is of " + communicator.device().name() + ".");
}

void requireShares(const char* op, const Communicator& communicator, const Tensor& tensor, int64_t share) {
  require(tensor.shape().rank() == 1, op, "the tensor has shape " + tensor.shape().text() + "; expected [n].");
  require(share >= 0 && share <= tensor.elements() / communicator.size(), op,
          "share is " + std::to_string(share) + "; expected 0 to " + std::to_string(tensor.elements() / communicator.size()) + ", for " +
              std::to_string(communicator.size()) + " processes divide " + std::to_string(tensor.elements()) + " elements.");
}

}  // namespace

std::string communicatorId(Device& device, int64_t size) {
  const char* op = "communicatorId";
  requireSize(op, size);
  if constexpr (kBuiltWithCuda)
    if (dynamic_cast<CudaDevice*>(&device)) return NcclCommunicator::makeId();
  return SharedMemoryCommunicator::create(static_cast<int>(size));
}

int64_t openCommunicator(Device& device, const std::string& id, int64_t rank, int64_t size) {
  const char* op = "openCommunicator";
  requireSize(op, size);
  require(rank >= 0 && rank < size, op, "rank is " + std::to_string(rank) + "; expected 0 to " + std::to_string(size - 1) + ".");
  const auto join = [&]() -> std::shared_ptr<Communicator> {
    if constexpr (kBuiltWithCuda)
      if (auto* cuda = dynamic_cast<CudaDevice*>(&device)) return std::make_shared<NcclCommunicator>(*cuda, id, static_cast<int>(rank), static_cast<int>(size));
    return std::make_shared<SharedMemoryCommunicator>(dynamic_cast<CpuDevice&>(device), id, static_cast<int>(rank), static_cast<int>(size));
  };
  auto communicator = join();
  const std::lock_guard lock(open().mutex);
  open().communicators[open().next] = std::move(communicator);
  return open().next++;
}

void allReduceSum(int64_t number, const std::vector<Tensor>& tensors) {
  const char* op = "allReduceSum";
  const auto communicator = get(op, number);
  for (const Tensor& tensor : tensors) requireOwn(op, *communicator, tensor);
  communicator->allReduceSum(tensors);
}

void allGather(int64_t number, const Tensor& tensor, int64_t share) {
  const char* op = "allGather";
  const auto communicator = get(op, number);
  requireOwn(op, *communicator, tensor, tensor.dtype() == DType::f64 ? DType::f64 : DType::f32);
  requireShares(op, *communicator, tensor, share);
  communicator->allGather(tensor, share);
}

void broadcast(int64_t number, const Tensor& tensor, int64_t root) {
  const char* op = "broadcast";
  const auto communicator = get(op, number);
  requireOwn(op, *communicator, tensor);
  require(root >= 0 && root < communicator->size(), op,
          "root is " + std::to_string(root) + "; expected 0 to " + std::to_string(communicator->size() - 1) + ".");
  communicator->broadcast(tensor, static_cast<int>(root));
}

void beginReduceSum(int64_t number, const Tensor& tensor, int64_t share, const std::vector<double>& ranges) {
  const char* op = "beginReduceSum";
  const auto communicator = get(op, number);
  requireOwn(op, *communicator, tensor);
  requireShares(op, *communicator, tensor, share);
  communicator->beginReduceSum(tensor, share, arenaRanges(op, "summed", ranges, tensor.elements()));
}

void beginAllGather(int64_t number, const Tensor& tensor, int64_t share) {
  const char* op = "beginAllGather";
  const auto communicator = get(op, number);
  requireOwn(op, *communicator, tensor);
  requireShares(op, *communicator, tensor, share);
  communicator->beginAllGather(tensor, share);
}

void awaitBegun(int64_t number) {
  if (const auto communicator = find(number)) communicator->awaitBegun();
}

void abortCommunicator(int64_t number, const std::string& reason) {
  require(!reason.empty(), "abortCommunicator", "reason is empty; expected a sentence.");
  if (const auto communicator = find(number)) communicator->abort(reason);
}

std::shared_ptr<Communicator> takeCommunicator(int64_t number) {
  std::shared_ptr<Communicator> taken;
  {
    const std::lock_guard lock(open().mutex);
    const auto found = open().communicators.find(number);
    if (found == open().communicators.end()) return nullptr;
    taken = std::move(found->second);
    open().communicators.erase(found);
  }
  // What has begun may write to tensors that are given back from here on.
  taken->awaitBegun();
  return taken;
}

}  // namespace repa::ops
