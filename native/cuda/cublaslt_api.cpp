#include "cuda/cublaslt_api.h"

#include "core/error.h"
#include "cuda/shared_library.h"

namespace repa::cuda {

namespace {

struct Opened {
  SharedLibrary library{"cuBLASLt", "REPA_CUBLASLT", {"libcublasLt.so.13", "libcublasLt.so.12"}, "12 and 13"};
  CublasLtApi api{};

  Opened() {
#define REPA_FIND(name) library.find(api.name, #name)
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
  }
};

const Opened& opened() {
  static const Opened once;
  return once;
}

}  // namespace

const CublasLtApi& cublasLt() {
  if (!opened().library.failure().empty()) throw Error(ErrorCode::device, opened().library.failure());
  return opened().api;
}

bool cublasLtIsAbsent() { return opened().library.isAbsent(); }

}  // namespace repa::cuda
