#include "cuda/cublaslt.h"

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "core/error.h"
#include "cuda/check.h"
#include "cuda/cublaslt_api.h"
#include "cuda/gemm_problem.h"

namespace repa::cuda {

namespace {

constexpr int64_t kScratchAlignment = 256;
/// NVIDIA's advice for Hopper; what an algorithm really takes is asked for.
constexpr uint64_t kMostWorkspaceBytes = uint64_t{32} << 20;

int64_t roundUp(int64_t bytes) { return (bytes + kScratchAlignment - 1) / kScratchAlignment * kScratchAlignment; }

void require(cublasStatus_t status, const char* what) {
  if (status != 0) throw Error(ErrorCode::failed, std::string("cuBLASLt could not ") + what + " (status " + std::to_string(status) + ").");
}

/// Owns one of the library's objects.
template <class Handle, cublasStatus_t (*CublasLtApi::*destroy)(Handle)>
class Owned {
 public:
  Owned() = default;
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
  ~Owned() {
    if (handle_) (cublasLt().*destroy)(handle_);
  }
  Handle* out() { return &handle_; }
  operator Handle() const { return handle_; }

 private:
  Handle handle_ = nullptr;
};

using Description = Owned<cublasLtMatmulDesc_t, &CublasLtApi::cublasLtMatmulDescDestroy>;
using Layout = Owned<cublasLtMatrixLayout_t, &CublasLtApi::cublasLtMatrixLayoutDestroy>;
using Preference = Owned<cublasLtMatmulPreference_t, &CublasLtApi::cublasLtMatmulPreferenceDestroy>;

/// One for each GPU, made at first use and never destroyed, as the devices are not.
cublasLtHandle_t handleOfCurrentDevice() {
  static std::mutex mutex;
  static std::map<int, cublasLtHandle_t> handles;
  int ordinal = 0;
  check(cudaGetDevice(&ordinal), "ask for the current device");
  std::lock_guard lock(mutex);
  cublasLtHandle_t& handle = handles[ordinal];
  if (!handle) require(cublasLt().cublasLtCreate(&handle), "be initialised");
  return handle;
}

int typeOf(DType dtype) { return dtype == DType::f32 ? kTypeR32F : dtype == DType::bf16 ? kTypeR16BF : kTypeR16F; }

/// Whether the product goes straight to C.
bool isDirect(const GemmArgs& args) { return args.epilogue.kind == GemmEpilogueKind::none && !args.epilogue.columnSums; }

/// The product in the library's terms. A row-major matrix is the transposed column-major one, so it computes Cᵀ [n, m]: its A is our
/// B, and its B our A.
struct Product {
  Description description;
  Layout first, second, result;

  explicit Product(const GemmArgs& args) {
    const CublasLtApi& api = cublasLt();
    const bool tf32 = args.dtype == DType::f32;
    require(api.cublasLtMatmulDescCreate(description.out(), tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, kTypeR32F), "describe a product");
    const int32_t transposeFirst = args.layout == GemmLayout::forward ? CUBLAS_OP_T : CUBLAS_OP_N;
    const int32_t transposeSecond = args.layout == GemmLayout::weightGradient ? CUBLAS_OP_T : CUBLAS_OP_N;
    require(api.cublasLtMatmulDescSetAttribute(description, CUBLASLT_MATMUL_DESC_TRANSA, &transposeFirst, sizeof transposeFirst), "describe a product");
    require(api.cublasLtMatmulDescSetAttribute(description, CUBLASLT_MATMUL_DESC_TRANSB, &transposeSecond, sizeof transposeSecond), "describe a product");
    const auto matrix = [&](Layout& layout, DType dtype, int64_t rows, int64_t columns, int64_t stride) {
      require(api.cublasLtMatrixLayoutCreate(layout.out(), typeOf(dtype), static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), stride), "describe a matrix");
    };
    if (transposeFirst == CUBLAS_OP_T) matrix(first, args.dtype, args.k, args.n, args.ldb);
    else matrix(first, args.dtype, args.n, args.k, args.ldb);
    if (transposeSecond == CUBLAS_OP_T) matrix(second, args.dtype, args.m, args.k, args.lda);
    else matrix(second, args.dtype, args.k, args.m, args.lda);
    if (isDirect(args)) matrix(result, args.cDType, args.n, args.m, args.ldc);
    else matrix(result, DType::f32, args.n, args.m, args.n);
  }
};

/// What the heuristics' answer depends on.
using Key = std::array<int64_t, 13>;

Key keyOf(const GemmArgs& args, int ordinal) {
  const bool direct = isDirect(args);
  return {ordinal,
          static_cast<int64_t>(args.layout),
          static_cast<int64_t>(args.dtype),
          static_cast<int64_t>(direct ? args.cDType : DType::f32),
          args.m,
          args.n,
          args.k,
          args.lda,
          args.ldb,
          direct ? args.ldc : args.n,
          cublasLtAlignment(args.a),
          cublasLtAlignment(args.b),
          // Scratch is aligned to as much as there is to say.
          direct ? cublasLtAlignment(args.c) : kScratchAlignment};
}

using Algorithms = std::vector<cublasLtMatmulHeuristicResult_t>;

Algorithms ask(const GemmArgs& args, const Key& key) {
  const CublasLtApi& api = cublasLt();
  const Product product(args);
  Preference preference;
  require(api.cublasLtMatmulPreferenceCreate(preference.out()), "make a preference");
  const auto prefer = [&](int attribute, auto value) {
    require(api.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), "take a preference");
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kMostWorkspaceBytes);
  prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE);
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, static_cast<uint32_t>(key[11]));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, static_cast<uint32_t>(key[10]));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, static_cast<uint32_t>(key[12]));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, static_cast<uint32_t>(key[12]));
  Algorithms algorithms(kMostAlgorithms);
  int returned = 0;
  const cublasStatus_t status =
      api.cublasLtMatmulAlgoGetHeuristic(handleOfCurrentDevice(), product.description, product.first, product.second, product.result, product.result,
                                         preference, kMostAlgorithms, algorithms.data(), &returned);
  constexpr cublasStatus_t notSupported = 15;
  if (status == notSupported) return {};
  require(status, "choose an algorithm");
  algorithms.resize(static_cast<size_t>(returned));
  std::erase_if(algorithms, [](const cublasLtMatmulHeuristicResult_t& result) { return result.state != 0; });
  return algorithms;
}

/// Asked once for every product; the references stay.
const Algorithms& algorithmsOf(const GemmArgs& args) {
  static std::mutex mutex;
  static std::map<Key, Algorithms> known;
  int ordinal = 0;
  check(cudaGetDevice(&ordinal), "ask for the current device");
  const Key key = keyOf(args, ordinal);
  std::lock_guard lock(mutex);
  const auto found = known.find(key);
  return found != known.end() ? found->second : known.emplace(key, ask(args, key)).first->second;
}

/// Where a product's scratch lies: the sums, the partial column sums, the library's workspace.
struct ScratchPlace {
  int64_t columnSums = 0, workspace = 0, end = 0;
};

int64_t sumRowsOf(const GemmArgs& args) { return (args.m + kSumRows - 1) / kSumRows; }

ScratchPlace placeScratch(const GemmArgs& args, const cublasLtMatmulHeuristicResult_t& algorithm) {
  ScratchPlace place;
  if (!isDirect(args)) place.columnSums = roundUp(args.m * args.n * 4);
  place.workspace = place.columnSums + (args.epilogue.columnSums ? roundUp(sumRowsOf(args) * args.n * 4) : 0);
  place.end = place.workspace + roundUp(static_cast<int64_t>(algorithm.workspaceSize));
  return place;
}

bool takesOperands(const GemmArgs& args) {
  if (args.m == 0 || args.n == 0 || args.k == 0 || (args.dtype == DType::f32 && !args.allowTf32)) return false;
  const int64_t bytes = dtypeBytes(args.dtype);
  const bool aligned = cublasLtAlignment(args.a) >= 16 && cublasLtAlignment(args.b) >= 16 && args.lda * bytes % 16 == 0 && args.ldb * bytes % 16 == 0;
  return aligned && (!isDirect(args) || (cublasLtAlignment(args.c) >= 16 && args.ldc * dtypeBytes(args.cDType) % 16 == 0));
}

}  // namespace

uint32_t cublasLtAlignment(const void* pointer) {
  const uint64_t bits = reinterpret_cast<uintptr_t>(pointer) | kScratchAlignment;
  return static_cast<uint32_t>(bits & -bits);
}

bool cublasLtTakes(std::span<const GemmArgs> products) {
  cublasLt();
  return std::ranges::all_of(products, [](const GemmArgs& args) { return takesOperands(args) && cublasLtAlgorithms(args) > 0; });
}

int cublasLtAlgorithms(const GemmArgs& args) { return static_cast<int>(algorithmsOf(args).size()); }

int64_t cublasLtScratchBytes(const GemmArgs& args, int algorithm) {
  return placeScratch(args, algorithmsOf(args).at(static_cast<size_t>(algorithm))).end;
}

void cublasLtGemm(cudaStream_t stream, const GemmArgs& args, int algorithm, void* scratch) {
  const cublasLtMatmulHeuristicResult_t& chosen = algorithmsOf(args).at(static_cast<size_t>(algorithm));
  const ScratchPlace place = placeScratch(args, chosen);
  char* const bytes = static_cast<char*>(scratch);
  const Product product(args);
  const bool direct = isDirect(args);
  const float alpha = 1.0f, beta = direct && args.accumulate ? 1.0f : 0.0f;
  void* const result = direct ? args.c : scratch;
  require(cublasLt().cublasLtMatmul(handleOfCurrentDevice(), product.description, &alpha, args.b, product.first, args.a, product.second, &beta, result,
                                    product.result, result, product.result, &chosen.algo, chosen.workspaceSize ? bytes + place.workspace : nullptr,
                                    chosen.workspaceSize, stream),
          "compute a product");
  if (direct) return;
  float* const sums = args.epilogue.columnSums ? reinterpret_cast<float*>(bytes + place.columnSums) : nullptr;
  launchSumSplits(stream, args, isWide(args) && args.n % 4 == 0, static_cast<const float*>(scratch), 1, sums);
  if (sums)
    launchSumRows(stream, sums, static_cast<int>(sumRowsOf(args)), static_cast<int>(args.n), args.epilogue.columnSums,
                  args.epilogue.accumulateColumnSums);
}

}  // namespace repa::cuda
