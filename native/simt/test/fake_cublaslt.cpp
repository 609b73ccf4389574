// A libcublasLt for machines without a GPU: the functions of cuda/cublaslt_api.h with the same C ABI, on the shim's streams and memory. It
// computes what it is asked, and refuses whatever the real library would refuse or would not promise: attributes of the wrong size,
// shapes that do not match, pointers less aligned than was said, an algorithm of another product, too little workspace.
//
// Its algorithms sum in different orders, so that they give different bits. From the environment: FAKE_CUBLASLT_LOG, a file that gets
// a line for every product; FAKE_CUBLASLT_FAST, the number of the only algorithm that does not take its time.
#include <bit>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "cuda/cublaslt_api.h"
#include "simt/stream.h"

namespace {

using namespace repa::cuda;

constexpr cublasStatus_t kSuccess = 0, kInvalidValue = 7, kNotSupported = 15;
constexpr uint64_t kMagic = 0x6c626173754c5446;
constexpr int kAlgorithms = 5;
/// Proposed, but said not to work: to be passed over.
constexpr int kUnusable = 1;
constexpr auto kSlow = std::chrono::milliseconds(60);

struct Description {
  int computeType, scaleType;
  int32_t transposeA = CUBLAS_OP_N, transposeB = CUBLAS_OP_N;
};

struct Layout {
  int type;
  uint64_t rows, columns;
  int64_t leadingDimension;
  bool operator==(const Layout&) const = default;
};

struct Preference {
  uint64_t mostWorkspace = 0;
  uint32_t reductionSchemes = 7;
  uint32_t alignment[4] = {256, 256, 256, 256};  // of A, B, C and D
};

template <class T, class Handle>
T& of(Handle handle) {
  return *reinterpret_cast<T*>(handle);
}

template <class T>
bool take(T& to, const void* value, size_t bytes) {
  if (bytes != sizeof(T)) return false;
  std::memcpy(&to, value, sizeof(T));
  return true;
}

cublasStatus_t refuse(const char* why) {
  std::fprintf(stderr, "fake cuBLASLt: %s\n", why);
  return kInvalidValue;
}

size_t workspaceOf(int algorithm) { return 1000 * static_cast<size_t>(algorithm); }

struct Sizes {
  uint64_t m, n, k;
};

/// Null where everything matches.
const char* mismatch(const Description& description, const Layout& a, const Layout& b, const Layout& d, Sizes& sizes) {
  const bool transposedA = description.transposeA == CUBLAS_OP_T, transposedB = description.transposeB == CUBLAS_OP_T;
  sizes = {transposedA ? a.columns : a.rows, transposedB ? b.rows : b.columns, transposedA ? a.rows : a.columns};
  if ((transposedB ? b.columns : b.rows) != sizes.k) return "the inner sizes differ";
  if (d.rows != sizes.m || d.columns != sizes.n) return "the result has another shape";
  for (const Layout* layout : {&a, &b, &d})
    if (layout->leadingDimension < static_cast<int64_t>(layout->rows)) return "a leading dimension is less than a column";
  if (a.type != b.type) return "the operands' types differ";
  if (d.type != a.type && d.type != kTypeR32F) return "the result has another type than the operands, and not f32";
  if (description.scaleType != kTypeR32F) return "alpha and beta are not f32";
  if (description.computeType != (a.type == kTypeR32F ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F)) return "unexpected compute type";
  return nullptr;
}

uint64_t fingerprint(const Description& description, const Layout& a, const Layout& b, const Layout& d) {
  uint64_t hash = 14695981039346656037u;
  const auto add = [&](uint64_t value) { hash = (hash ^ value) * 1099511628211u; };
  for (int value : {description.computeType, description.transposeA, description.transposeB}) add(static_cast<uint64_t>(value));
  for (const Layout* layout : {&a, &b, &d})
    for (uint64_t value : {static_cast<uint64_t>(layout->type), layout->rows, layout->columns, static_cast<uint64_t>(layout->leadingDimension)}) add(value);
  return hash;
}

float toFloat(const void* from, int64_t index, int type) {
  if (type == kTypeR32F) return static_cast<const float*>(from)[index];
  if (type == kTypeR16F) return static_cast<float>(static_cast<const _Float16*>(from)[index]);
  return std::bit_cast<float>(static_cast<uint32_t>(static_cast<const uint16_t*>(from)[index]) << 16);
}

void fromFloat(void* to, int64_t index, int type, float value) {
  if (type == kTypeR32F) static_cast<float*>(to)[index] = value;
  else if (type == kTypeR16F) static_cast<_Float16*>(to)[index] = static_cast<_Float16>(value);
  else {
    const uint32_t bits = std::bit_cast<uint32_t>(value);
    // To nearest even; a NaN stays one.
    const uint32_t rounded = value != value ? bits | 0x400000 : bits + 0x7fff + (bits >> 16 & 1);
    static_cast<uint16_t*>(to)[index] = static_cast<uint16_t>(rounded >> 16);
  }
}

struct Call {
  Description description;
  Layout layoutA, layoutB, layoutD;
  Sizes sizes;
  float beta;
  const void *a, *b;
  void *d, *workspace;
  int algorithm;
};

void compute(const Call& call) {
  const char* const fast = std::getenv("FAKE_CUBLASLT_FAST");
  if (fast && std::atoi(fast) != call.algorithm) std::this_thread::sleep_for(kSlow);
  // It may use all of what it asked for, and what was there is lost.
  if (call.workspace) std::memset(call.workspace, 0xff, workspaceOf(call.algorithm));
  const auto [m, n, k] = call.sizes;
  // op(A) with the rows of a column side by side.
  std::vector<float> a(m * k);
  for (uint64_t p = 0; p < k; ++p)
    for (uint64_t i = 0; i < m; ++i) {
      const uint64_t index = call.description.transposeA == CUBLAS_OP_T ? p + i * static_cast<uint64_t>(call.layoutA.leadingDimension)
                                                                        : i + p * static_cast<uint64_t>(call.layoutA.leadingDimension);
      a[p * m + i] = toFloat(call.a, static_cast<int64_t>(index), call.layoutA.type);
    }
  const uint64_t chains = static_cast<uint64_t>(call.algorithm) + 1;
  std::vector<float> sums(m * chains);
  for (uint64_t j = 0; j < n; ++j) {
    std::fill(sums.begin(), sums.end(), 0.0f);
    for (uint64_t p = 0; p < k; ++p) {
      const uint64_t index = call.description.transposeB == CUBLAS_OP_T ? j + p * static_cast<uint64_t>(call.layoutB.leadingDimension)
                                                                        : p + j * static_cast<uint64_t>(call.layoutB.leadingDimension);
      const float b = toFloat(call.b, static_cast<int64_t>(index), call.layoutB.type);
      float* const chain = &sums[p % chains * m];
      for (uint64_t i = 0; i < m; ++i) chain[i] += a[p * m + i] * b;
    }
    for (uint64_t i = 0; i < m; ++i) {
      float sum = 0;
      for (uint64_t chain = 0; chain < chains; ++chain) sum += sums[chain * m + i];
      const int64_t at = static_cast<int64_t>(i) + static_cast<int64_t>(j) * call.layoutD.leadingDimension;
      // With a beta of zero, what was there is not read, be it NaN.
      fromFloat(call.d, at, call.layoutD.type, call.beta == 0.0f ? sum : sum + call.beta * toFloat(call.d, at, call.layoutD.type));
    }
  }
}

void log(const Call& call) {
  const char* const path = std::getenv("FAKE_CUBLASLT_LOG");
  if (!path) return;
  std::ofstream file(path, std::ios::app);
  const auto operation = [](int32_t transpose) { return transpose == CUBLAS_OP_T ? "T" : "N"; };
  file << operation(call.description.transposeA) << operation(call.description.transposeB) << " " << call.layoutA.type << " " << call.layoutD.type << " beta "
       << call.beta << " algorithm " << call.algorithm << "\n";
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT size_t cublasLtGetVersion() { return 130000; }

EXPORT cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static int only;
  *handle = reinterpret_cast<cublasLtHandle_t>(&only);
  return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* description, int computeType, int scaleType) {
  *description = reinterpret_cast<cublasLtMatmulDesc_t>(new Description{computeType, scaleType});
  return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete &of<Description>(description);
  return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description, int attribute, const void* value, size_t bytes) {
  Description& to = of<Description>(description);
  if (attribute == CUBLASLT_MATMUL_DESC_TRANSA) return take(to.transposeA, value, bytes) ? kSuccess : refuse("TRANSA has another size");
  if (attribute == CUBLASLT_MATMUL_DESC_TRANSB) return take(to.transposeB, value, bytes) ? kSuccess : refuse("TRANSB has another size");
  return refuse("an attribute of a product that it does not know");
}

EXPORT cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* layout, int type, uint64_t rows, uint64_t columns, int64_t leadingDimension) {
  *layout = reinterpret_cast<cublasLtMatrixLayout_t>(new Layout{type, rows, columns, leadingDimension});
  return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete &of<Layout>(layout);
  return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* preference) {
  *preference = reinterpret_cast<cublasLtMatmulPreference_t>(new Preference);
  return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete &of<Preference>(preference);
  return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference, int attribute, const void* value, size_t bytes) {
  Preference& to = of<Preference>(preference);
  switch (attribute) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES: return take(to.mostWorkspace, value, bytes) ? kSuccess : refuse("MAX_WORKSPACE has another size");
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK: return take(to.reductionSchemes, value, bytes) ? kSuccess : refuse("the schemes have another size");
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
      return take(to.alignment[attribute - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, bytes) ? kSuccess : refuse("an alignment has another size");
    default: return refuse("a preference that it does not know");
  }
}

EXPORT cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                                     cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d, cublasLtMatmulPreference_t preference, int requested,
                                                     cublasLtMatmulHeuristicResult_t* results, int* returned) {
  const Preference& wants = of<Preference>(preference);
  if (wants.reductionSchemes != CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE) return refuse("sums might be split and added in any order");
  if (wants.mostWorkspace < workspaceOf(kAlgorithms)) return refuse("too little workspace is allowed");
  if (wants.alignment[2] != wants.alignment[3]) return refuse("C and D are one, and said to be aligned differently");
  for (uint32_t alignment : wants.alignment)
    if (alignment < 16) return kNotSupported;
  Sizes sizes{};
  if (!(of<Layout>(c) == of<Layout>(d))) return refuse("C and D differ");
  if (const char* why = mismatch(of<Description>(description), of<Layout>(a), of<Layout>(b), of<Layout>(d), sizes)) return refuse(why);
  *returned = 0;
  // The real one's list depends on the alignment too.
  const bool wellAligned = wants.alignment[3] == 256;
  for (int i = 0; i < (wellAligned ? kAlgorithms : kAlgorithms - 2) && i < requested; ++i) {
    cublasLtMatmulHeuristicResult_t& result = results[(*returned)++];
    result = {};
    const uint64_t alignments = wants.alignment[0] | uint64_t{wants.alignment[1]} << 16 | uint64_t{wants.alignment[3]} << 32;
    result.algo = {{kMagic, static_cast<uint64_t>(i), fingerprint(of<Description>(description), of<Layout>(a), of<Layout>(b), of<Layout>(d)), alignments}};
    result.workspaceSize = workspaceOf(i);
    result.state = i == kUnusable ? kNotSupported : kSuccess;
  }
  return kSuccess;
}

EXPORT cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha, const void* a, cublasLtMatrixLayout_t layoutA,
                                     const void* b, cublasLtMatrixLayout_t layoutB, const void* beta, const void* c, cublasLtMatrixLayout_t layoutC, void* d,
                                     cublasLtMatrixLayout_t layoutD, const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t workspaceBytes,
                                     cudaStream_t stream) {
  Call call{of<Description>(description), of<Layout>(layoutA), of<Layout>(layoutB), of<Layout>(layoutD), {}, *static_cast<const float*>(beta), a, b, d, nullptr, 0};
  if (const char* why = mismatch(call.description, call.layoutA, call.layoutB, call.layoutD, call.sizes)) return refuse(why);
  if (*static_cast<const float*>(alpha) != 1.0f || (call.beta != 0.0f && call.beta != 1.0f)) return refuse("unexpected alpha or beta");
  if (c != d || !(of<Layout>(layoutC) == call.layoutD)) return refuse("C is not D");
  if (!algorithm || algorithm->data[0] != kMagic) return refuse("an algorithm that it never proposed");
  if (algorithm->data[2] != fingerprint(call.description, call.layoutA, call.layoutB, call.layoutD)) return refuse("an algorithm of another product");
  call.algorithm = static_cast<int>(algorithm->data[1]);
  if (call.algorithm == kUnusable) return refuse("an algorithm that it said not to work");
  const auto isAligned = [&](const void* pointer, int shift) { return reinterpret_cast<uintptr_t>(pointer) % (algorithm->data[3] >> shift & 0xffff) == 0; };
  if (!isAligned(a, 0) || !isAligned(b, 16) || !isAligned(d, 32)) return refuse("a matrix is less aligned than was said");
  if (const size_t needed = workspaceOf(call.algorithm)) {
    if (!workspace || workspaceBytes < needed || reinterpret_cast<uintptr_t>(workspace) % 256 != 0) return refuse("too little workspace, or not aligned");
    call.workspace = workspace;
  }
  log(call);
  stream->enqueue([call] { compute(call); });
  return kSuccess;
}
