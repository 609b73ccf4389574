#include "cuda/nccl_communicator.h"

#include <cuda_runtime.h>

#include <charconv>
#include <thread>
#include <utility>

#include "core/error.h"

namespace repa {

namespace {

using namespace cuda;

void check(ncclResult_t result, const char* what) {
  if (result != ncclSuccess) throw Error(ErrorCode::device, std::string("NCCL could not ") + what + ": " + nccl().ncclGetErrorString(result) + ".");
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

NcclCommunicator::NcclCommunicator(CudaDevice& device, const std::string& id, int rank, int size) : Communicator(device, size), cuda_(device) {
  device.makeCurrent();
  check(nccl().ncclCommInitRank(&communicator_, size, fromHexadecimal(id), rank), "join the processes");
}

NcclCommunicator::~NcclCommunicator() {
  if (!communicator_) return;
  // What is enqueued may still be running, and NCCL lets go of it as it is.
  cuda_.enqueue("closeCommunicator", [](cudaStream_t stream) { cudaStreamSynchronize(stream); });
  nccl().ncclCommDestroy(communicator_);
}

ncclComm_t NcclCommunicator::communicator() const {
  const std::lock_guard lock(mutex_);
  if (!communicator_) throw Error(ErrorCode::failed, reason_);
  return communicator_;
}

void NcclCommunicator::allReduceSum(const std::vector<Tensor>& tensors) {
  cuda_.enqueue("allReduceSum", [&](cudaStream_t stream) {
    const ncclComm_t joined = communicator();
    check(nccl().ncclGroupStart(), "begin a group");
    ncclResult_t result = ncclSuccess;
    for (const Tensor& tensor : tensors)
      if (result == ncclSuccess)
        result = nccl().ncclAllReduce(tensor.data(), tensor.data(), static_cast<size_t>(tensor.elements()), ncclFloat32, ncclSum, joined, stream);
    // After a failure too, or this thread's next calls would wait in the group.
    const ncclResult_t ended = nccl().ncclGroupEnd();
    check(result != ncclSuccess ? result : ended, "sum over the processes");
  });
}

void NcclCommunicator::broadcast(const Tensor& tensor, int root) {
  cuda_.enqueue("broadcast", [&](cudaStream_t stream) {
    check(nccl().ncclBroadcast(tensor.data(), tensor.data(), static_cast<size_t>(tensor.elements()), ncclFloat32, root, communicator(), stream),
          "pass a tensor on");
  });
}

void NcclCommunicator::abort(const std::string& reason) {
  cuda_.fail(reason);
  const std::lock_guard lock(mutex_);
  if (!communicator_) return;
  reason_ = reason;
  // Ends what waits on the GPU for the others. On a thread of its own: it returns once no graph holds a call of the communicator (NCCL's
  // commDestroySync), and the thread that would destroy the graph is the one that calls this.
  std::thread([device = &cuda_, given = std::exchange(communicator_, nullptr)] {
    try {
      device->makeCurrent();
      nccl().ncclCommAbort(given);
    } catch (const std::exception&) {
      // A GPU that is lost holds nobody any more.
    }
  }).detach();
}

}  // namespace repa
