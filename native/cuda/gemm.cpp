#include "cuda/gemm.h"

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <string>

#include "core/divide_up.h"
#include "core/error.h"
#include "cuda/cublaslt.h"
#include "cuda/gemm_problem.h"
#include "cuda/gemm_sm90.h"
#include "cuda/status.h"

namespace repa::cuda {

namespace {

using Kind = GemmEpilogueKind;

constexpr int64_t kScratchAlignment = 256;

int64_t roundUp(int64_t a, int64_t b) { return divideUp(a, b) * b; }

int64_t tilesOf(const GemmArgs& args, GemmTile tile) { return divideUp(args.m, tile.rows) * divideUp(args.n, tile.columns); }

/// The largest power of two that divides every address and row of an operand in bytes, up to 16.
int granuleOf(const GemmArgs& args) {
  const uint64_t bytes = static_cast<uint64_t>(dtypeBytes(args.dtype));
  const uint64_t all = reinterpret_cast<uintptr_t>(args.a) | reinterpret_cast<uintptr_t>(args.b) | static_cast<uint64_t>(args.lda) * bytes |
                       static_cast<uint64_t>(args.ldb) * bytes | 16;
  return static_cast<int>(all & -all);
}

/// Whether what is contiguous of A and B is whole units of 16 bytes: where a row is longer than that, its last unit could be a part.
bool hasWholeUnits(const GemmArgs& args) {
  const int64_t unit = 16 / dtypeBytes(args.dtype);
  const int64_t ofA = args.layout == GemmLayout::weightGradient ? args.m : args.k, ofB = args.layout == GemmLayout::forward ? args.k : args.n;
  return ofA % unit == 0 && ofB % unit == 0;
}

/// Whether a matrix (null counts as one) has its rows at multiples of 16 bytes.
bool isWide(const void* first, int64_t stride, int64_t elementBytes) {
  return first == nullptr || (reinterpret_cast<uintptr_t>(first) % 16 == 0 && stride * elementBytes % 16 == 0);
}

/// Splits of a long sum whose result has few rows: the input gradient of the adaLN projections of all blocks, k = 195,840. Not a
/// function of m, so that a row's bits are the same in a batch of any size.
int splitsOfLongSum(int64_t k) {
  constexpr int64_t kLong = 32768, kPart = 8192;
  return k < kLong ? 1 : static_cast<int>(divideUp(k, kPart));
}

/// Splits of weight gradients that share a launch, the same for each: what minimises the time of the last block to end, in units of one
/// uncut tile. A part's write and read cost as much as some 800 summands of a tile's main loop.
int splitsOfWeightGradients(const CudaDeviceInfo& device, GemmBackend backend, GemmTile tile, std::span<const GemmArgs> products) {
  constexpr int kMostSplits = 32, kLeastDepth = 256;
  constexpr double kPartCost = 800;
  const int64_t slots = (backend == GemmBackend::wgmma ? 1 : 2) * std::max(device.multiprocessors, 1);
  int64_t k = 1, tiles = 0;
  for (const GemmArgs& args : products) {
    k = std::max(k, args.k);
    tiles += tilesOf(args, tile);
  }
  int best = 1;
  double least = std::numeric_limits<double>::infinity();
  for (int splits = 1; splits <= kMostSplits && (splits == 1 || k / splits >= kLeastDepth); ++splits) {
    const double waves = static_cast<double>(divideUp(tiles * splits, slots)) / splits;
    const double sums = splits == 1 ? 0.0 : kPartCost / static_cast<double>(k) * splits * static_cast<double>(divideUp(tiles, slots));
    if (waves + sums < least) {
      least = waves + sums;
      best = splits;
    }
  }
  return best;
}

void checkSizes(const GemmArgs& args) {
  // Indices of rows, columns and summands are 32 bits in the kernels, with room for a tile and for the parts of a sum.
  constexpr int64_t most = int64_t{1} << 30;
  if (args.m >= most || args.n >= most || args.k >= most || tilesOf(args, kTile) >= most)
    throw Error(ErrorCode::shape, "a product of " + std::to_string(args.m) + " x " + std::to_string(args.k) + " by " + std::to_string(args.k) + " x " +
                                      std::to_string(args.n) + " has a size beyond what its kernels count to, 2^30.");
}

bool isOfLayout(Kind kind, GemmLayout layout) {
  if (kind == Kind::none) return true;
  if (kind == Kind::biasRelu || kind == Kind::biasAddendRelu) return false;
  return layout == (isBackward(kind) ? GemmLayout::inputGradient : GemmLayout::forward);
}

void checkEpilogue(const GemmArgs& args) {
  const bool fits = isOfLayout(args.epilogue.kind, args.layout) && (!args.epilogue.columnSums || args.layout == GemmLayout::inputGradient) &&
                    (!args.accumulate || args.layout == GemmLayout::weightGradient);
  if (!fits) throw Error(ErrorCode::invalidArgument, "a product is to be followed by what kernels of its layout do not have (cuda/gemm.h).");
}

/// Not a function of m in forward and inputGradient: the backends need not give the same bits.
GemmBackend pickBackend(const CudaDeviceInfo& device, std::span<const GemmArgs> products, GemmMaker maker) {
  if (maker == GemmMaker::cublasLt && cublasLtTakes(products)) return GemmBackend::cublasLt;
  const bool aligned = std::ranges::all_of(products, [](const GemmArgs& args) { return granuleOf(args) == 16; });
  if (products[0].dtype == DType::f32)
    return aligned && products[0].allowTf32 && std::ranges::all_of(products, hasWholeUnits) ? GemmBackend::mma : GemmBackend::ffma;
  return device.runsHopperKernels() && aligned && maker != GemmMaker::mma ? GemmBackend::wgmma : GemmBackend::mma;
}

/// Where a product's scratch lies, in bytes from the beginning: the parts of its sum, where that is cut, then its partial column sums.
struct ScratchPlace {
  int64_t parts, columnSums;
  int sumRows;
};

struct ScratchPlaces {
  std::vector<ScratchPlace> byProduct;
  int64_t bytes = 0;
};

/// One product's after the other's. `splits`: by product.
ScratchPlaces placesInScratch(std::span<const GemmArgs> products, GemmTile tile, std::span<const int> splits) {
  ScratchPlaces places;
  for (size_t i = 0; i < products.size(); ++i) {
    const GemmArgs& args = products[i];
    const int64_t sumRows = divideUp(args.m, splits[i] > 1 ? kSumRows : tile.rows);
    const int64_t parts = places.bytes;
    const int64_t columnSums = parts + (splits[i] > 1 ? roundUp(splits[i] * args.m * args.n * 4, kScratchAlignment) : 0);
    places.byProduct.push_back({.parts = parts, .columnSums = columnSums, .sumRows = static_cast<int>(sumRows)});
    places.bytes = columnSums + (args.epilogue.columnSums ? roundUp(sumRows * args.n * 4, kScratchAlignment) : 0);
  }
  return places;
}

float* floatsAt(void* scratch, int64_t place) { return reinterpret_cast<float*>(static_cast<char*>(scratch) + place); }

float* partialColumnSums(const GemmArgs& args, const ScratchPlace& place, void* scratch) {
  return args.epilogue.columnSums ? floatsAt(scratch, place.columnSums) : nullptr;
}

/// A product whose sum is cut, as far as its tiles' kernel computes it: f32, part after part.
GemmArgs toParts(const GemmArgs& args, float* parts) {
  GemmArgs product = args;
  product.c = parts;
  product.ldc = args.n;
  product.cDType = DType::f32;
  product.accumulate = false;
  product.epilogue = {};
  return product;
}

/// The first of its launch.
GemmProblem problemOf(const GemmArgs& args, GemmTile tile, int splits) {
  const int granule = granuleOf(args);
  return {.args = args,
          .wide = isWide(args),
          .aligned = granule == 16 && hasWholeUnits(args),
          .granule = std::min(granule, 8),
          .splits = splits,
          .depth = static_cast<int>(roundUp(divideUp(args.k, splits), 64)),
          .rowTiles = static_cast<int>(divideUp(args.m, tile.rows)),
          .columnTiles = static_cast<int>(divideUp(args.n, tile.columns)),
          .firstTile = 0,
          .columnSums = nullptr};
}

GemmProblem problemOf(const GemmArgs& args, GemmTile tile, int splits, const ScratchPlace& place, void* scratch) {
  if (splits > 1) return problemOf(toParts(args, floatsAt(scratch, place.parts)), tile, splits);
  GemmProblem problem = problemOf(args, tile, splits);
  problem.columnSums = partialColumnSums(args, place, scratch);
  return problem;
}

void launchTiles(cudaStream_t stream, const GemmPlan& plan, const GemmGroup& group, int tiles) {
  switch (plan.backend) {
    case GemmBackend::ffma: return launchGemmFfma(stream, group, tiles);
    case GemmBackend::mma: return launchGemmMma(stream, group, tiles);
    case GemmBackend::wgmma: return launchGemmSm90(stream, group, plan.tile, tiles);
    case GemmBackend::cublasLt: return;  // has no tiles of ours
  }
}

/// What is left of a product when its tiles are there: its sum's parts, and the sums of its columns.
void addUp(cudaStream_t stream, const GemmArgs& args, int splits, const ScratchPlace& place, void* scratch) {
  if (args.n == 0) return;
  float* const sums = partialColumnSums(args, place, scratch);
  if (splits > 1 && args.m > 0)
    launchSumSplits(stream, args, isWide(args) && args.n % 4 == 0, floatsAt(scratch, place.parts), splits, sums);
  if (sums) launchSumRows(stream, sums, place.sumRows, static_cast<int>(args.n), args.epilogue.columnSums, args.epilogue.accumulateColumnSums);
}

}  // namespace

GemmGroup uncutGroup(const GemmArgs& args) {
  checkSizes(args);
  GemmGroup group{};
  group.count = 1;
  group.problems[0] = problemOf(args, kTile, 1);
  return group;
}

bool isWide(const GemmArgs& args) {
  const GemmEpilogue& e = args.epilogue;
  return isWide(args.c, args.ldc, dtypeBytes(args.cDType)) && isWide(e.aux, e.auxStride, dtypeBytes(args.dtype)) && isWide(e.bias, 0, 4) &&
         isWide(e.residual, e.residualStride, 4) && isWide(e.gate, e.gateStride, 4) && isWide(e.addend, e.addendStride, 4);
}

GemmWish gemmWish() {
  const char* const text = std::getenv("REPA_GEMM");
  const std::string wish = text ? text : "";
  if (wish == "") return {};
  if (wish == "mma") return {GemmMaker::mma};
  if (wish == "wgmma") return {GemmMaker::wgmma};
  if (wish == "cublaslt") return {GemmMaker::cublasLt};
  if (wish == "auto") return {GemmMaker::fastest};
  for (const GemmTile tile : {kTile192, kTile256})
    if (wish == "wgmma-" + nameOf(tile)) return {GemmMaker::wgmma, tile};
  throw Error(ErrorCode::invalidArgument,
              "REPA_GEMM is \"" + wish + "\"; expected mma, wgmma, wgmma-" + nameOf(kTile192) + ", wgmma-" + nameOf(kTile256) + ", cublaslt or auto.");
}

GemmPlan planCublasLt(std::span<const GemmArgs> products, std::vector<int> algorithms) {
  for (const GemmArgs& args : products) checkSizes(args);
  GemmPlan plan{.backend = GemmBackend::cublasLt, .tile = kTile, .splits = {}, .algorithms = std::move(algorithms), .scratchBytes = 0};
  // One after the other, so that they share it.
  for (size_t i = 0; i < products.size(); ++i)
    plan.scratchBytes = std::max(plan.scratchBytes, cublasLtScratchBytes(products[i], plan.algorithms.at(i)));
  return plan;
}

std::string nameOf(GemmTile tile) { return std::to_string(tile.rows) + "x" + std::to_string(tile.columns); }

std::vector<GemmTile> gemmTiles(const CudaDeviceInfo& device, std::span<const GemmArgs> products) {
  return pickBackend(device, products, GemmMaker::own) == GemmBackend::wgmma ? tilesSm90(products) : std::vector{kTile};
}

GemmPlan planGemm(const CudaDeviceInfo& device, std::span<const GemmArgs> products, GemmWish wish) {
  for (const GemmArgs& args : products) {
    checkSizes(args);
    checkEpilogue(args);
  }
  if (wish.maker == GemmMaker::wgmma) device.requireHopperFor(wish.tile ? "REPA_GEMM=wgmma-" + nameOf(*wish.tile) : "REPA_GEMM=wgmma");
  const GemmBackend backend = pickBackend(device, products, wish.maker);
  // The first is the one that it holds to be the fastest.
  if (backend == GemmBackend::cublasLt) return planCublasLt(products, std::vector<int>(products.size(), 0));
  GemmPlan plan{.backend = backend, .tile = kTile, .splits = {}, .algorithms = {}, .scratchBytes = 0};
  if (backend == GemmBackend::wgmma) {
    plan.tile = standardTileSm90(products[0].layout);
    if (wish.tile && std::ranges::count(tilesSm90(products), *wish.tile) > 0) plan.tile = *wish.tile;
  }
  for (const GemmArgs& args : products)
    plan.splits.push_back(args.layout == GemmLayout::weightGradient ? splitsOfWeightGradients(device, backend, plan.tile, products) : splitsOfLongSum(args.k));
  plan.scratchBytes = placesInScratch(products, plan.tile, plan.splits).bytes;
  return plan;
}

void gemm(cudaStream_t stream, const GemmPlan& plan, std::span<const GemmArgs> products, void* scratch) {
  if (plan.backend == GemmBackend::cublasLt) {
    for (size_t i = 0; i < products.size(); ++i) cublasLtGemm(stream, products[i], plan.algorithms[i], scratch);
    return;
  }
  const std::vector<ScratchPlace> places = placesInScratch(products, plan.tile, plan.splits).byProduct;
  for (size_t end = 0; end < products.size();) {
    const size_t begin = end;
    GemmGroup group{};
    int tiles = 0;
    for (; end < products.size() && group.count < GemmGroup::kMost; ++end) {
      if (products[end].m == 0 || products[end].n == 0) continue;
      GemmProblem& problem = group.problems[group.count++];
      problem = problemOf(products[end], plan.tile, plan.splits[end], places[end], scratch);
      problem.firstTile = tiles;
      tiles += problem.rowTiles * problem.columnTiles * problem.splits;
    }
    if (tiles > 0) launchTiles(stream, plan, group, tiles);
    for (size_t i = begin; i < end; ++i) addUp(stream, products[i], plan.splits[i], places[i], scratch);
  }
}

}  // namespace repa::cuda
