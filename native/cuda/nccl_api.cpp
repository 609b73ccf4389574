#include "cuda/nccl_api.h"

#include <dlfcn.h>

#include <cstdlib>

#include "core/error.h"

namespace repa::cuda {

namespace {

struct Opened {
  NcclApi api{};
  /// Why there is none; empty where there is.
  std::string failure;
};

Opened open() {
  Opened opened;
  const char* const named = std::getenv("REPA_NCCL");
  const bool isNamed = named && *named;
  void* const library = dlopen(isNamed ? named : "libnccl.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    opened.failure = isNamed ? std::string("REPA_NCCL names ") + named + ", which does not open: " + dlerror() + "."
                             : "NCCL is not here: the loader finds no libnccl.so.2; add its folder to LD_LIBRARY_PATH, or set REPA_NCCL to the file.";
    return opened;
  }
  const auto find = [&](auto& function, const char* name) {
    void* const symbol = dlsym(library, name);
    if (!symbol && opened.failure.empty()) opened.failure = std::string("The NCCL that was found has no ") + name + "; version 2.9 and later have.";
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
  };
#define REPA_FIND(name) find(opened.api.name, #name)
  REPA_FIND(ncclGetUniqueId);
  REPA_FIND(ncclCommInitRank);
  REPA_FIND(ncclCommDestroy);
  REPA_FIND(ncclCommAbort);
  REPA_FIND(ncclAllReduce);
  REPA_FIND(ncclBroadcast);
  REPA_FIND(ncclGroupStart);
  REPA_FIND(ncclGroupEnd);
  REPA_FIND(ncclGetErrorString);
#undef REPA_FIND
  return opened;
}

}  // namespace

const NcclApi& nccl() {
  static const Opened opened = open();
  if (!opened.failure.empty()) throw Error(ErrorCode::device, opened.failure);
  return opened.api;
}

}  // namespace repa::cuda
