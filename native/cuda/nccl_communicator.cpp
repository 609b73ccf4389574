#include "cuda/nccl_communicator.h"

#include <cuda_runtime.h>

#include <charconv>
#include <thread>
#include <utility>

#include "core/error.h"
#include "core/start_thread.h"

namespace repa {

namespace {

using namespace cuda;

/// What NCCL says of a result, and of what led to it where it does.
std::string words(ncclResult_t result, ncclComm_t communicator) {
  const std::string text = nccl().ncclGetErrorString(result);
  const char* const last = nccl().ncclGetLastError ? nccl().ncclGetLastError(communicator) : nullptr;
  return last && *last ? text + " (" + last + ")" : text;
}

void check(ncclResult_t result, const char* what, ncclComm_t communicator = nullptr) {
  if (result != ncclSuccess) throw Error(ErrorCode::device, std::string("NCCL could not ") + what + ": " + words(result, communicator) + ".");
}

/// The device, whose GPU is this thread's from here on.
CudaDevice& current(CudaDevice& device) {
  device.makeCurrent();
  return device;
}

std::string hexadecimal(const ncclUniqueId& id) {
  std::string text;
  for (const char byte : id.internal) {
    constexpr char kDigits[] = "0123456789abcdef";
    text += kDigits[static_cast<unsigned char>(byte) >> 4];
    text += kDigits[static_cast<unsigned char>(byte) & 15];
  }
  return text;
}

ncclUniqueId fromHexadecimal(const std::string& text) {
  ncclUniqueId id;
  bool good = text.size() == 2 * sizeof id.internal;
  for (size_t i = 0; good && i < sizeof id.internal; ++i) {
    unsigned char byte = 0;
    const char* const end = text.data() + 2 * i + 2;
    good = std::from_chars(end - 2, end, byte, 16).ptr == end;
    id.internal[i] = static_cast<char>(byte);
  }
  if (!good) throw Error(ErrorCode::invalidArgument, "An id of NCCL is " + std::to_string(2 * sizeof id.internal) + " hexadecimal digits; got \"" + text + "\".");
  return id;
}

}  // namespace

std::string NcclCommunicator::makeId() {
  ncclUniqueId id;
  check(nccl().ncclGetUniqueId(&id), "make an id");
  return hexadecimal(id);
}

NcclCommunicator::NcclCommunicator(CudaDevice& device, const std::string& id, int rank, int size)
    : Communicator(device, size), cuda_(current(device)), rank_(rank), peers_(id, rank, size) {
  check(nccl().ncclCommInitRank(&communicator_, size, fromHexadecimal(id), rank), "join the processes");
  // The thread that would hear of an end and abort is held up by CUDA itself where the GPU waits for the one that has ended and about a
  // thousand launches, or all blocks of the uploads, wait behind that. Of a network that fails nobody hears but NCCL, whose kernels go on waiting.
  peers_.begin(
      [this](const std::string& reason) {
        cuda_.stop(reason);
        letGo(reason);
      },
      [this] { return brokenBy(); });
}

NcclCommunicator::~NcclCommunicator() {
  peers_.end();
  if (!communicator_) return;
  try {
    cuda_.makeCurrent();
    // What is enqueued may still be running, and NCCL lets go of it as it is.
    cudaStreamSynchronize(side_.stream());
    nccl().ncclCommDestroy(communicator_);
  } catch (const std::exception&) {
    // A GPU that is lost holds nobody any more.
  }
}

ncclComm_t NcclCommunicator::communicator() const {
  const std::lock_guard lock(mutex_);
  if (!communicator_) throw Error(ErrorCode::failed, reason_);
  return communicator_;
}

std::string NcclCommunicator::brokenBy() {
  const std::lock_guard lock(mutex_);
  if (!communicator_) return "";
  ncclResult_t state = ncclSuccess;
  const ncclResult_t asked = nccl().ncclCommGetAsyncError(communicator_, &state);
  const ncclResult_t result = asked == ncclSuccess ? state : asked;
  if (result == ncclSuccess || result == ncclInProgress) return "";
  return "NCCL could not exchange with the other processes: " + words(result, communicator_) + ".";
}

void NcclCommunicator::begin(const char* operation, const char* what, Calls calls) {
  cuda_.enqueue(operation, [&](cudaStream_t queue) {
    const ncclComm_t joined = communicator();
    side_.forkFrom(queue);
    check(nccl().ncclGroupStart(), "begin a group");
    const ncclResult_t result = calls(joined, side_.stream());
    // After a failure too, or this thread's next calls would wait in the group.
    const ncclResult_t ended = nccl().ncclGroupEnd();
    check(result != ncclSuccess ? result : ended, what, joined);
  });
}

void NcclCommunicator::awaitBegun() {
  cuda_.enqueue("awaitBegun", [&](cudaStream_t queue) { side_.joinTo(queue); });
}

void NcclCommunicator::allReduceSum(const std::vector<Tensor>& tensors) {
  begin("allReduceSum", "sum over the processes", [&](ncclComm_t joined, cudaStream_t stream) {
    ncclResult_t result = ncclSuccess;
    for (const Tensor& tensor : tensors)
      if (result == ncclSuccess)
        result = nccl().ncclAllReduce(tensor.data(), tensor.data(), static_cast<size_t>(tensor.elements()), ncclFloat32, ncclSum, joined, stream);
    return result;
  });
  awaitBegun();
}

// A range is a block of the model, which lies in one process's share as a rule, or in two. NCCL's reduce passes it along the ring of the processes
// to the one that owns it, so that each of the others sends it once: over all ranges that is as much for every process as where all own a part of
// each.

void NcclCommunicator::beginReduceSum(const Tensor& tensor, int64_t share, const std::vector<ArenaRange>& ranges) {
  begin("reduceSum", "sum over the processes", [&](ncclComm_t joined, cudaStream_t stream) {
    ncclResult_t result = ncclSuccess;
    for (const ArenaRange& range : ranges)
      for (int owner = 0; owner < size(); ++owner) {
        const ArenaRange own = inBoth(shareOf(tensor.elements(), share, owner, size()), range);
        float* const data = tensor.f32() + own.begin;
        if (result == ncclSuccess && own.begin < own.end)
          result = nccl().ncclReduce(data, data, static_cast<size_t>(own.end - own.begin), ncclFloat32, ncclSum, owner, joined, stream);
      }
    return result;
  });
}

// NCCL's shares are all equal, and in place where a process's lies in the whole. What is left of the tensor comes from the last process by a
// call of its own.

void NcclCommunicator::beginAllGather(const Tensor& tensor, int64_t share) {
  const int type = tensor.dtype() == DType::f64 ? ncclFloat64 : ncclFloat32;
  char* const data = static_cast<char*>(tensor.data());
  const int64_t bytes = share * dtypeBytes(tensor.dtype());
  char* const rest = data + size() * bytes;
  const auto left = static_cast<size_t>(tensor.elements() - size() * share);
  begin("allGather", "pass shares on", [&](ncclComm_t joined, cudaStream_t stream) {
    ncclResult_t result = ncclSuccess;
    if (share > 0) result = nccl().ncclAllGather(data + rank_ * bytes, data, static_cast<size_t>(share), type, joined, stream);
    if (result == ncclSuccess && left > 0) result = nccl().ncclBroadcast(rest, rest, left, type, size() - 1, joined, stream);
    return result;
  });
}

void NcclCommunicator::allGather(const Tensor& tensor, int64_t share) {
  beginAllGather(tensor, share);
  awaitBegun();
}

void NcclCommunicator::broadcast(const Tensor& tensor, int root) {
  begin("broadcast", "pass a tensor on", [&](ncclComm_t joined, cudaStream_t stream) {
    return nccl().ncclBroadcast(tensor.data(), tensor.data(), static_cast<size_t>(tensor.elements()), ncclFloat32, root, joined, stream);
  });
  awaitBegun();
}

void NcclCommunicator::abort(const std::string& reason) {
  peers_.end();
  // What is let go of from here on is not handed out again before this has ended.
  awaitBegun();
  cuda_.fail(reason);
  letGo(reason);
}

void NcclCommunicator::letGo(const std::string& reason) {
  const std::lock_guard lock(mutex_);
  if (!communicator_) return;
  reason_ = reason;
  // On a thread of its own: it returns once no graph holds a call of the communicator (NCCL's commDestroySync), and the thread that would
  // destroy the graph may be the one that calls this.
  startThread("what ends an exchange", [device = &cuda_, given = std::exchange(communicator_, nullptr)] {
    try {
      device->makeCurrent();
      nccl().ncclCommAbort(given);
    } catch (const std::exception&) {
      // A GPU that is lost holds nobody any more.
    }
  }).detach();
}

}  // namespace repa
