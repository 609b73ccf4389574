#include "cuda/gemm_choice.h"

#include <limits>
#include <sstream>
#include <string>

#include "core/tensor.h"
#include "cuda/cublaslt.h"
#include "cuda/cublaslt_api.h"
#include "cuda/measured_choice.h"
#include "cuda/stopwatch.h"

namespace repa::cuda {

namespace {

/// Of fresh memory, and the most that cublasLtAlignment says.
constexpr uint32_t kBestAlignment = 256;
constexpr const char* kOwn = "own";
constexpr const char* kLibrary = "cublaslt";

/// Whether the library is there and computes all of the products.
bool isOfLibrary(std::span<const GemmArgs> products) { return !cublasLtIsAbsent() && cublasLtTakes(products); }

/// What a choice depends on besides the GPU: the library, and the products' sizes and places.
std::string keyOf(std::span<const GemmArgs> products) {
  std::ostringstream key;
  if (cublasLtIsAbsent())
    key << "no cuBLASLt";
  else
    key << "cuBLASLt " << cublasLt().cublasLtGetVersion();
  constexpr const char* layouts[] = {"forward", "inputGradient", "weightGradient"};
  for (const GemmArgs& args : products) {
    const GemmEpilogue& e = args.epilogue;
    key << "; " << layouts[static_cast<int>(args.layout)] << " " << dtypeName(args.dtype) << "-" << dtypeName(args.cDType) << (args.allowTf32 ? " tf32" : "")
        << " " << args.m << "x" << args.n << "x" << args.k << " ld " << args.lda << "," << args.ldb << "," << args.ldc << " at " << cublasLtAlignment(args.a) << ","
        << cublasLtAlignment(args.b) << "," << cublasLtAlignment(args.c) << " kind " << static_cast<int>(e.kind) << (e.aux ? " aux" : "") << (e.columnSums ? " sums" : "")
        << (args.accumulate ? " accumulated" : "");
  }
  return key.str();
}

/// The products with everything that they write turned to memory of their own, which they may write again and again: C may be the
/// residual, and an accumulated C would grow. It is aligned as the product's own is, for cuBLASLt's algorithms depend on that.
class Rehearsal {
 public:
  Rehearsal(Device& device, std::span<const GemmArgs> products) : products_(products.begin(), products.end()) {
    for (GemmArgs& args : products_) {
      args.c = take(device, args.m * args.ldc * dtypeBytes(args.cDType), args.c);
      GemmEpilogue& e = args.epilogue;
      if (!isBackward(e.kind) && e.aux) e.aux = take(device, args.m * e.auxStride * dtypeBytes(args.dtype), e.aux);
      if (e.columnSums) e.columnSums = static_cast<float*>(take(device, args.n * 4, e.columnSums));
    }
  }

  std::span<const GemmArgs> products() const { return products_; }

 private:
  void* take(Device& device, int64_t bytes, const void* like) {
    const int64_t offset = static_cast<int64_t>(cublasLtAlignment(like) % kBestAlignment);
    memory_.push_back(Tensor::empty(device, {bytes + offset}, DType::u8, "the rehearsal of a product"));
    return static_cast<char*>(memory_.back().data()) + offset;
  }

  std::vector<GemmArgs> products_;
  std::vector<Tensor> memory_;
};

std::string measure(cudaStream_t stream, Device& device, const CudaDeviceInfo& info, std::span<const GemmArgs> products) {
  const Rehearsal rehearsal(device, products);
  Stopwatch stopwatch(stream);
  const auto time = [&](std::span<const GemmArgs> some, const GemmPlan& plan) {
    Tensor scratch;
    if (plan.scratchBytes > 0) scratch = Tensor::empty(device, {plan.scratchBytes}, DType::u8, "the scratch of a product");
    return stopwatch.least([&] { gemm(stream, plan, some, scratch.defined() ? scratch.data() : nullptr); });
  };
  float own = std::numeric_limits<float>::infinity();
  std::string ownChoice;
  for (const GemmTile tile : gemmTiles(info, rehearsal.products())) {
    const float milliseconds = time(rehearsal.products(), planGemm(info, rehearsal.products(), {.tile = tile}));
    if (milliseconds < own) {
      own = milliseconds;
      ownChoice = std::string(kOwn) + ' ' + nameOf(tile);
    }
  }
  if (!isOfLibrary(products)) return ownChoice;
  float library = 0;
  std::string choice = kLibrary;
  // Each on its own, for the library launches them one by one.
  for (const GemmArgs& args : rehearsal.products()) {
    float least = std::numeric_limits<float>::infinity();
    int best = 0;
    for (int algorithm = 0; algorithm < cublasLtAlgorithms(args); ++algorithm) {
      const float milliseconds = time({&args, 1}, planCublasLt({&args, 1}, {algorithm}));
      if (milliseconds < least) {
        least = milliseconds;
        best = algorithm;
      }
    }
    library += least;
    choice += ' ';
    choice += std::to_string(best);
  }
  return library < own ? choice : ownChoice;
}

GemmPlan planOf(const std::string& choice, const CudaDeviceInfo& info, std::span<const GemmArgs> products) {
  std::istringstream words(choice);
  std::string maker;
  words >> maker;
  if (maker == kOwn) {
    std::string name;
    words >> name;
    for (const GemmTile tile : gemmTiles(info, products))
      if (name == nameOf(tile) && words.eof()) return planGemm(info, products, {.tile = tile});
  } else if (maker == kLibrary) {
    std::vector<int> algorithms;
    for (int algorithm; words >> algorithm;) algorithms.push_back(algorithm);
    bool fits = words.eof() && algorithms.size() == products.size();
    for (size_t i = 0; fits && i < products.size(); ++i) fits = algorithms[i] >= 0 && algorithms[i] < cublasLtAlgorithms(products[i]);
    if (fits) return planCublasLt(products, std::move(algorithms));
  }
  refuseChoice(choice, "this build's or of this cuBLASLt's");
}

}  // namespace

GemmPlan fastestGemm(cudaStream_t stream, Device& device, const CudaDeviceInfo& info, std::span<const GemmArgs> products) {
  // What there is no choice for is not kept.
  if (gemmTiles(info, products).size() == 1 && !isOfLibrary(products)) return planGemm(info, products, {});
  const Choosing choosing{.variable = "REPA_GEMM", .what = "a product", .key = keyOf(products)};
  return planOf(measuredChoice(stream, info, choosing, [&] { return measure(stream, device, info, products); }), info, products);
}

}  // namespace repa::cuda
