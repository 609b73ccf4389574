// gemm-bench: the CPU GEMM against a BLAS, shape by shape, in the same minute.
//
//     gemm-bench LIBRARY [--rounds 15] [--threads 2] [--only TEXT]
//
// LIBRARY is a shared library with cblas_sgemm, such as the OpenMP build of OpenBLAS; it may also come from
// REPA_BENCH_BLAS. OPENBLAS_CORETYPE=SKYLAKEX makes OpenBLAS use its AVX-512 kernels on a CPU that it does not know.
//
// One round times, in turn, a burst of calls of each side (raw B, packed B, the BLAS) and a register-only FMA loop on
// all threads. A pause before each lets the other side's threads stop spinning. Printed are medians over the rounds.
// With one thread it is CPU time that counts, which others on the machine disturb less than the clock on the wall.
#include <dlfcn.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/thread_pool.h"
#include "cpu/fma_peak.h"
#include "cpu/gemm.h"

namespace {

using repa::ThreadPool;
using repa::cpu::GemmArgs;
constexpr auto kPause = std::chrono::milliseconds(5);
constexpr double kBurstSeconds = 0.01;

using CblasSgemm = void (*)(int order, int transA, int transB, int m, int n, int k, float alpha, const float* a,
                            int lda, const float* b, int ldb, float beta, float* c, int ldc);

struct Blas {
  CblasSgemm sgemm = nullptr;
  std::string core = "unknown";
};

Blas openBlas(const char* path, int threads) {
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    std::fprintf(stderr, "Cannot open the BLAS library %s: %s\n", path, dlerror());
    std::exit(1);
  }
  Blas blas;
  blas.sgemm = reinterpret_cast<CblasSgemm>(dlsym(library, "cblas_sgemm"));
  if (blas.sgemm == nullptr) {
    std::fprintf(stderr, "%s has no cblas_sgemm; give a library with the CBLAS interface.\n", path);
    std::exit(1);
  }
  if (auto setThreads = reinterpret_cast<void (*)(int)>(dlsym(library, "openblas_set_num_threads")))
    setThreads(threads);
  if (auto core = reinterpret_cast<char* (*)()>(dlsym(library, "openblas_get_corename"))) blas.core = core();
  return blas;
}

struct Shape {
  std::string name;
  bool transA;
  bool transB;
  int64_t m;
  int64_t n;
  int64_t k;
  bool accumulate = false;
  /// How often a training step of SiT-S/2 with REPA at batch 4 makes this product.
  int perStep = 0;
};

/// The three products of a linear layer [in -> out] on `tokens` rows.
void addLinear(std::vector<Shape>& shapes, const std::string& name, int64_t tokens, int64_t out, int64_t in,
               int perStep = 0) {
  shapes.push_back({name + " forward", false, true, tokens, out, in, false, perStep});
  shapes.push_back({name + " dgrad", false, false, tokens, in, out, false, perStep});
  shapes.push_back({name + " wgrad", true, false, out, in, tokens, true, perStep});
}

void addForward(std::vector<Shape>& shapes, const std::string& name, int64_t tokens, int64_t out, int64_t in) {
  shapes.push_back({name + " forward", false, true, tokens, out, in});
}

std::vector<Shape> allShapes() {
  std::vector<Shape> shapes;
  addLinear(shapes, "S qkv", 1024, 1152, 384, 12);
  addLinear(shapes, "S proj", 1024, 384, 384, 12);
  addLinear(shapes, "S fc1", 1024, 1536, 384, 12);
  addLinear(shapes, "S fc2", 1024, 384, 1536, 12);
  addLinear(shapes, "S projector 1", 1024, 2048, 384, 1);
  addLinear(shapes, "projector 2", 1024, 2048, 2048, 1);
  addLinear(shapes, "projector 3", 1024, 768, 2048, 1);
  addLinear(shapes, "S adaLN, batch 4", 4, 28416, 384, 1);
  addLinear(shapes, "S final layer", 1024, 16, 384, 1);
  addForward(shapes, "S patch embed", 1024, 384, 16);
  shapes.back().perStep = 1;
  shapes.push_back({"S patch embed wgrad", true, false, 384, 16, 1024, true, 1});
  addForward(shapes, "DINOv2-S patch embed", 1024, 384, 588);
  addForward(shapes, "DINOv2-S qkv, 1 image", 257, 1152, 384);
  addForward(shapes, "DINOv2-S fc1, 2 images", 514, 1536, 384);
  addForward(shapes, "DINOv2-S fc2, 2 images", 514, 384, 1536);
  addForward(shapes, "DINOv2-B qkv, 4 images", 1028, 2304, 768);
  addLinear(shapes, "B fc1", 1024, 3072, 768);
  addLinear(shapes, "B fc2", 1024, 768, 3072);
  addLinear(shapes, "XL fc1", 1024, 4608, 1152);
  addLinear(shapes, "XL fc2", 1024, 1152, 4608);
  addForward(shapes, "t embed, 1 row", 1, 384, 256);
  addForward(shapes, "t embed, 3 rows", 3, 384, 384);
  return shapes;
}

struct FreeAligned {
  void operator()(float* p) const { std::free(p); }
};
using Floats = std::unique_ptr<float[], FreeAligned>;

Floats allocate(int64_t count, bool random = false) {
  const auto bytes = (static_cast<size_t>(count) * sizeof(float) + 4095) / 4096 * 4096;
  Floats floats(static_cast<float*>(std::aligned_alloc(4096, std::max<size_t>(bytes, 4096))));
  uint32_t state = 1;
  for (int64_t i = 0; i < count; ++i) {
    state = state * 1664525u + 1013904223u;
    floats[i] = random ? static_cast<float>(state >> 8) / (1 << 23) - 1.0f : 0.0f;
  }
  return floats;
}

struct Side {
  std::vector<double> seconds;
  double median() const {
    auto sorted = seconds;
    std::sort(sorted.begin(), sorted.end());
    return sorted[sorted.size() / 2];
  }
  double best() const { return *std::min_element(seconds.begin(), seconds.end()); }
};

/// The clock that counts: CLOCK_MONOTONIC, or CLOCK_THREAD_CPUTIME_ID with one thread.
clockid_t countingClock = CLOCK_MONOTONIC;

double secondsNow() {
  timespec now;
  clock_gettime(countingClock, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

template <class Call>
double timeOnce(Call call) {
  const double start = secondsNow();
  call();
  return secondsNow() - start;
}

/// Seconds per call over a burst.
template <class Call>
void timeBurst(Side& side, int calls, Call call) {
  std::this_thread::sleep_for(kPause);
  call();
  side.seconds.push_back(timeOnce([&] {
                           for (int i = 0; i < calls; ++i) call();
                         }) /
                         calls);
}

struct Result {
  double ours, packed, theirs, oursBest, theirsBest, peak, difference;
};

Result measure(ThreadPool& pool, const Blas& blas, const Shape& s, int rounds) {
  const auto& kernels = repa::cpu::gemmKernels();
  const Floats a = allocate(s.m * s.k, true);
  const Floats b = allocate(s.n * s.k, true);
  const Floats c = allocate(s.m * s.n);
  const Floats reference = allocate(s.m * s.n);
  GemmArgs raw;
  raw.transA = s.transA;
  raw.transB = s.transB;
  raw.m = s.m;
  raw.n = s.n;
  raw.k = s.k;
  raw.a = a.get();
  raw.lda = s.transA ? s.m : s.k;
  raw.b = b.get();
  raw.ldb = s.transB ? s.k : s.n;
  raw.c = c.get();
  raw.ldc = s.n;
  raw.accumulate = s.accumulate;
  const Floats packedB = allocate(kernels.packedBFloats(s.n, s.k));
  kernels.packB(pool, {s.transB, s.n, s.k, raw.b, raw.ldb, packedB.get()});
  GemmArgs prepacked = raw;
  prepacked.packedB = packedB.get();
  const Floats scratch = allocate(std::max(kernels.scratchFloats(raw, pool.threads()),
                                           kernels.scratchFloats(prepacked, pool.threads())));
  raw.scratch = prepacked.scratch = scratch.get();

  const auto ours = [&] { kernels.gemm(pool, raw); };
  const auto oursPacked = [&] { kernels.gemm(pool, prepacked); };
  const auto theirs = [&] {
    constexpr int kRowMajor = 101, kNoTrans = 111, kTrans = 112;
    blas.sgemm(kRowMajor, s.transA ? kTrans : kNoTrans, s.transB ? kTrans : kNoTrans, static_cast<int>(s.m),
               static_cast<int>(s.n), static_cast<int>(s.k), 1.0f, raw.a, static_cast<int>(raw.lda), raw.b,
               static_cast<int>(raw.ldb), s.accumulate ? 1.0f : 0.0f, reference.get(), static_cast<int>(raw.ldc));
  };
  ours();
  theirs();
  double difference = 0;
  for (int64_t i = 0; i < s.m * s.n; ++i)
    difference = std::max(difference, static_cast<double>(std::fabs(c[i] - reference[i])));

  const double flop = 2.0 * static_cast<double>(s.m * s.n) * static_cast<double>(s.k);
  const int calls = std::clamp(static_cast<int>(kBurstSeconds / timeOnce(theirs)), 1, 2000);
  const auto& peak = repa::cpu::fmaPeakKernels();
  std::vector<float> sinks(static_cast<size_t>(pool.threads()));
  Side oursSide, packedSide, theirsSide, peakSide;
  for (int round = 0; round < rounds; ++round) {
    timeBurst(oursSide, calls, ours);
    timeBurst(theirsSide, calls, theirs);
    timeBurst(packedSide, calls, oursPacked);
    std::this_thread::sleep_for(kPause);
    const int64_t chunks = 16 * pool.threads();
    const double seconds = timeOnce([&] { peak.run(pool, {chunks, 0.999f, 0.5f, sinks.data()}); });
    peakSide.seconds.push_back(seconds / static_cast<double>(chunks * peak.chunkFlops()));
  }
  return {flop / oursSide.median() * 1e-9,   flop / packedSide.median() * 1e-9, flop / theirsSide.median() * 1e-9,
          flop / oursSide.best() * 1e-9,     flop / theirsSide.best() * 1e-9,   1e-9 / peakSide.best(),
          difference};
}

}  // namespace

int main(int argc, char** argv) {
  const char* library = std::getenv("REPA_BENCH_BLAS");
  const char* only = "";
  int rounds = 15;
  int threads = 2;
  for (int i = 1; i < argc; ++i) {
    const bool hasValue = i + 1 < argc;
    if (std::strcmp(argv[i], "--rounds") == 0 && hasValue)
      rounds = std::max(1, std::atoi(argv[++i]));
    else if (std::strcmp(argv[i], "--threads") == 0 && hasValue)
      threads = std::max(1, std::atoi(argv[++i]));
    else if (std::strcmp(argv[i], "--only") == 0 && hasValue)
      only = argv[++i];
    else
      library = argv[i];
  }
  if (library == nullptr) {
    std::fprintf(stderr, "Usage: gemm-bench LIBRARY [--rounds 15] [--threads 2] [--only TEXT]\n");
    return 1;
  }
  if (threads == 1) countingClock = CLOCK_THREAD_CPUTIME_ID;
  const Blas blas = openBlas(library, threads);
  ThreadPool pool(threads);
  std::printf("level %s, %d threads, BLAS core %s, %d rounds; GFLOP/s are medians (best in brackets)\n",
              repa::cpu::cpuLevelName(repa::cpu::cpuLevel()), threads, blas.core.c_str(), rounds);
  std::printf("%-28s %-22s %15s %8s %15s %7s %7s %6s %9s\n", "product", "m x n x k", "ours", "packed", "BLAS", "ratio",
              "best/b", "share", "max diff");
  double oursStep = 0, theirsStep = 0;
  for (const Shape& s : allShapes()) {
    if (s.name.find(only) == std::string::npos) continue;
    const Result r = measure(pool, blas, s, rounds);
    const std::string size = std::to_string(s.m) + " x " + std::to_string(s.n) + " x " + std::to_string(s.k) +
                             (s.transA ? " TN" : s.transB ? " NT" : " NN");
    std::printf("%-28s %-22s %7.1f (%5.1f) %8.1f %7.1f (%5.1f) %7.2f %7.2f %5.0f%% %9.1e\n", s.name.c_str(),
                size.c_str(), r.ours, r.oursBest, r.packed, r.theirs, r.theirsBest, r.ours / r.theirs, r.oursBest / r.theirsBest,
                100 * r.ours / r.peak, r.difference);
    std::fflush(stdout);
    const double gflop = 2e-9 * static_cast<double>(s.m * s.n) * static_cast<double>(s.k);
    oursStep += s.perStep * gflop / r.ours;
    theirsStep += s.perStep * gflop / r.theirs;
  }
  if (*only == '\0')
    std::printf("All products of a training step, SiT-S/2 + REPA, batch 4: ours %.1f ms, BLAS %.1f ms, ratio %.2f\n", 1e3 * oursStep,
                1e3 * theirsStep, theirsStep / oursStep);
}
