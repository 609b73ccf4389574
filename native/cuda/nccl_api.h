// What this project uses of NCCL, declared here because its headers are not where the addon is built: opened at run time where a machine
// has it. Names, values and signatures are those of NVIDIA's documentation (NCCL 2, "NCCL API").
#pragma once

#include <cstddef>
#include <string>

#include "cuda/handles.h"

namespace repa::cuda {

using ncclResult_t = int;
constexpr ncclResult_t ncclSuccess = 0, ncclInProgress = 7;
using ncclComm_t = struct ncclComm*;

/// What the processes of a communicator know each other by: made by one, passed on to all.
struct ncclUniqueId {
  char internal[128];
};

/// Of ncclDataType_t and ncclRedOp_t.
constexpr int ncclFloat32 = 7, ncclFloat64 = 8, ncclSum = 0;

/// The functions of an opened library.
struct NcclApi {
  ncclResult_t (*ncclGetUniqueId)(ncclUniqueId* id);
  ncclResult_t (*ncclCommInitRank)(ncclComm_t* communicator, int size, ncclUniqueId id, int rank);
  ncclResult_t (*ncclCommDestroy)(ncclComm_t communicator);
  ncclResult_t (*ncclCommAbort)(ncclComm_t communicator);
  ncclResult_t (*ncclCommGetAsyncError)(ncclComm_t communicator, ncclResult_t* error);
  ncclResult_t (*ncclAllReduce)(const void* send, void* receive, size_t count, int type, int operation, ncclComm_t communicator, cudaStream_t stream);
  ncclResult_t (*ncclReduce)(const void* send, void* receive, size_t count, int type, int operation, int root, ncclComm_t communicator, cudaStream_t stream);
  ncclResult_t (*ncclAllGather)(const void* send, void* receive, size_t countOfShare, int type, ncclComm_t communicator, cudaStream_t stream);
  ncclResult_t (*ncclBroadcast)(const void* send, void* receive, size_t count, int type, int root, ncclComm_t communicator, cudaStream_t stream);
  ncclResult_t (*ncclGroupStart)();
  ncclResult_t (*ncclGroupEnd)();
  const char* (*ncclGetErrorString)(ncclResult_t result);
  const char* (*ncclGetLastError)(ncclComm_t communicator);  // null before version 2.13
};

/// The library, opened at the first call: what REPA_NCCL names, else libnccl.so.2 where the loader finds it. Throws Error(device) that says
/// what was looked for, at every call, where there is none.
const NcclApi& nccl();

}  // namespace repa::cuda
