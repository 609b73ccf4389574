#include "cuda/cublaslt_api.h"

#include <dlfcn.h>

#include <cstdlib>

#include "core/error.h"

namespace repa::cuda {

namespace {

struct Opened {
  CublasLtApi api{};
  /// Why there is none; empty where there is.
  std::string failure;
};

Opened open() {
  Opened opened;
  const char* const named = std::getenv("REPA_CUBLASLT");
  void* library = nullptr;
  if (named && *named) {
    library = dlopen(named, RTLD_NOW | RTLD_LOCAL);
    if (!library) opened.failure = std::string("REPA_CUBLASLT names ") + named + ", which does not open: " + dlerror() + ".";
  } else {
    for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12"})
      if (!library) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    if (!library)
      opened.failure = "cuBLASLt is not here: the loader finds neither libcublasLt.so.13 nor libcublasLt.so.12; add its folder to LD_LIBRARY_PATH, or set "
                       "REPA_CUBLASLT to the file.";
  }
  if (!library) return opened;
  const auto find = [&](auto& function, const char* name) {
    void* const symbol = dlsym(library, name);
    if (!symbol && opened.failure.empty()) opened.failure = std::string("The cuBLASLt that was found has no ") + name + "; versions 12 and 13 have.";
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol);
  };
#define REPA_FIND(name) find(opened.api.name, #name)
  REPA_FIND(cublasLtGetVersion);
  REPA_FIND(cublasLtCreate);
  REPA_FIND(cublasLtMatmulDescCreate);
  REPA_FIND(cublasLtMatmulDescDestroy);
  REPA_FIND(cublasLtMatmulDescSetAttribute);
  REPA_FIND(cublasLtMatrixLayoutCreate);
  REPA_FIND(cublasLtMatrixLayoutDestroy);
  REPA_FIND(cublasLtMatmulPreferenceCreate);
  REPA_FIND(cublasLtMatmulPreferenceDestroy);
  REPA_FIND(cublasLtMatmulPreferenceSetAttribute);
  REPA_FIND(cublasLtMatmulAlgoGetHeuristic);
  REPA_FIND(cublasLtMatmul);
#undef REPA_FIND
  return opened;
}

}  // namespace

const CublasLtApi& cublasLt() {
  static const Opened opened = open();
  if (!opened.failure.empty()) throw Error(ErrorCode::device, opened.failure);
  return opened.api;
}

}  // namespace repa::cuda
