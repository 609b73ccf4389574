#include "cuda/nccl_api.h"

#include "core/error.h"
#include "cuda/shared_library.h"

namespace repa::cuda {

namespace {

struct Opened {
  SharedLibrary library{"NCCL", "REPA_NCCL", {"libnccl.so.2"}, "2.9 and later"};
  NcclApi api{};

  Opened() {
#define REPA_FIND(name) library.find(api.name, #name)
    REPA_FIND(ncclGetUniqueId);
    REPA_FIND(ncclCommInitRank);
    REPA_FIND(ncclCommDestroy);
    REPA_FIND(ncclCommAbort);
    REPA_FIND(ncclCommGetAsyncError);
    REPA_FIND(ncclAllReduce);
    REPA_FIND(ncclReduce);
    REPA_FIND(ncclAllGather);
    REPA_FIND(ncclBroadcast);
    REPA_FIND(ncclGroupStart);
    REPA_FIND(ncclGroupEnd);
    REPA_FIND(ncclGetErrorString);
#undef REPA_FIND
    library.findIfThere(api.ncclGetLastError, "ncclGetLastError");
  }
};

}  // namespace

const NcclApi& nccl() {
  static const Opened opened;
  if (!opened.library.failure().empty()) throw Error(ErrorCode::device, opened.library.failure());
  return opened.api;
}

}  // namespace repa::cuda
