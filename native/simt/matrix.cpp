#include "simt/matrix.h"

#include <cstring>
#include <string>

#include "cuda/float16.h"
#include "simt/barrier.h"
#include "simt/failure.h"
#include "simt/observer.h"
#include "simt/scheduler.h"

namespace repa::simt {

namespace {

using cuda::bf16;
using cuda::f16;

struct MmaOperands {
  float* d;
  const uint32_t* a;
  const uint32_t* b;
};

template <class T>
float half(uint32_t pair, int which) {
  return toFloat(T{static_cast<uint16_t>(pair >> (16 * which))});
}

float tf32(uint32_t bits) { return cuda::detail::bitsFloat(bits & 0xFFFFE000u); }  // the chip ignores the lower 13 bits

/// Eight columns at once.
using Row = float __attribute__((vector_size(32)));

/// d += a b for a of 16 x depth and b of depth x 8. The chip leaves open in which order the products of a row are summed.
template <int depth>
void multiply(Warp& warp, const float (&a)[16][depth], const Row (&b)[depth]) {
  for (int i = 0; i < 16; ++i) {
    Row sum = a[i][0] * b[0];
    for (int k = 1; k < depth; ++k) sum += a[i][k] * b[k];
    for (int t = 0; t < 4; ++t) {
      float* d = static_cast<MmaOperands*>(warp.operands[(i & 7) * 4 + t])->d + (i >> 3) * 2;
      d[0] += sum[2 * t];
      d[1] += sum[2 * t + 1];
    }
  }
}

template <class T>
void executeK16(Warp& warp, uint32_t) {
  float a[16][16];
  Row b[16];
  for (int lane = 0; lane < warpLanes; ++lane) {
    const auto& own = *static_cast<MmaOperands*>(warp.operands[lane]);
    const int g = lane >> 2, t = lane & 3;
    for (int r = 0; r < 4; ++r)
      for (int h = 0; h < 2; ++h) a[g + 8 * (r & 1)][2 * t + h + 8 * (r >> 1)] = half<T>(own.a[r], h);
    for (int r = 0; r < 2; ++r)
      for (int h = 0; h < 2; ++h) b[2 * t + h + 8 * r][g] = half<T>(own.b[r], h);
  }
  multiply(warp, a, b);
}

template <class T>
void executeK8(Warp& warp, uint32_t) {
  float a[16][8];
  Row b[8];
  for (int lane = 0; lane < warpLanes; ++lane) {
    const auto& own = *static_cast<MmaOperands*>(warp.operands[lane]);
    const int g = lane >> 2, t = lane & 3;
    for (int r = 0; r < 2; ++r)
      for (int h = 0; h < 2; ++h) a[g + 8 * r][2 * t + h] = half<T>(own.a[r], h);
    for (int h = 0; h < 2; ++h) b[2 * t + h][g] = half<T>(own.b[0], h);
  }
  multiply(warp, a, b);
}

void executeTf32(Warp& warp, uint32_t) {
  float a[16][8];
  Row b[8];
  for (int lane = 0; lane < warpLanes; ++lane) {
    const auto& own = *static_cast<MmaOperands*>(warp.operands[lane]);
    const int g = lane >> 2, t = lane & 3;
    for (int r = 0; r < 4; ++r) a[g + 8 * (r & 1)][t + 4 * (r >> 1)] = tf32(own.a[r]);
    for (int r = 0; r < 2; ++r) b[t + 4 * r][g] = tf32(own.b[r]);
  }
  multiply(warp, a, b);
}

constexpr Collective mmaCollectives[] = {
    {"mma.m16n8k16.bf16", true, executeK16<bf16>}, {"mma.m16n8k16.f16", true, executeK16<f16>}, {"mma.m16n8k8.bf16", true, executeK8<bf16>},
    {"mma.m16n8k8.f16", true, executeK8<f16>},     {"mma.m16n8k8.tf32", true, executeTf32},
};

// ---- ldmatrix and stmatrix

struct MatrixOperands {
  unsigned char* row;  // what this lane names
  uint32_t* r;
  void* pc;
  unsigned char* touched[8];  // what this lane reads or writes: a pair of elements in a matrix, or two single ones

  template <class Report>
  void forEachAccess(int count, Report report) const {
    for (int m = 0; m < count; ++m) {
      unsigned char* const* const pair = touched + 2 * m;
      if (pair[1] == pair[0] + 2) {
        report(pair[0], 4);
      } else {
        report(pair[0], 2);
        report(pair[1], 2);
      }
    }
  }
};

/// Tells how often the shared memory's 32 banks have to be gone through: eight rows of 16 bytes are one access.
void tellPasses(const Warp& warp, int count, bool store) {
  int passes = 0;
  for (int m = 0; m < count; ++m) {
    uintptr_t seen[8] = {};
    int rowsInGroup[8] = {};
    int most = 0;
    for (int i = 0; i < 8; ++i) {
      const auto address = reinterpret_cast<uintptr_t>(static_cast<MatrixOperands*>(warp.operands[8 * m + i])->row);
      const int group = address >> 4 & 7;
      if (rowsInGroup[group] && seen[group] == address) continue;
      seen[group] = address;
      most = std::max(most, ++rowsInGroup[group]);
    }
    passes += most;
  }
  observer->matricesPass(static_cast<MatrixOperands*>(warp.operands[0])->pc, store, count, passes);
}

template <int count, bool transposed, bool store>
void executeMatrices(Warp& warp, uint32_t) {
  if (observer) tellPasses(warp, count, store);
  for (int lane = 0; lane < warpLanes; ++lane) {
    auto& own = *static_cast<MatrixOperands*>(warp.operands[lane]);
    const int g = lane >> 2, t = lane & 3;
    for (int m = 0; m < count; ++m) {
      // The two elements of this lane's register: (g, 2 t) and (g, 2 t + 1), or transposed (2 t, g) and (2 t + 1, g).
      for (int h = 0; h < 2; ++h) {
        const int row = transposed ? 2 * t + h : g;
        const int column = transposed ? g : 2 * t + h;
        own.touched[2 * m + h] = static_cast<MatrixOperands*>(warp.operands[8 * m + row])->row + 2 * column;
      }
      uint16_t halves[2];
      if constexpr (store) {
        halves[0] = static_cast<uint16_t>(own.r[m]);
        halves[1] = static_cast<uint16_t>(own.r[m] >> 16);
        std::memcpy(own.touched[2 * m], &halves[0], 2);
        std::memcpy(own.touched[2 * m + 1], &halves[1], 2);
      } else {
        std::memcpy(&halves[0], own.touched[2 * m], 2);
        std::memcpy(&halves[1], own.touched[2 * m + 1], 2);
        own.r[m] = halves[0] | static_cast<uint32_t>(halves[1]) << 16;
      }
    }
  }
}

template <int count, bool transposed>
constexpr Collective loadCollective = {transposed ? (count == 4   ? "ldmatrix.x4.trans"
                                                     : count == 2 ? "ldmatrix.x2.trans"
                                                                  : "ldmatrix.x1.trans")
                                                  : (count == 4   ? "ldmatrix.x4"
                                                     : count == 2 ? "ldmatrix.x2"
                                                                  : "ldmatrix.x1"),
                                       true, executeMatrices<count, transposed, false>};
template <int count, bool transposed>
constexpr Collective storeCollective = {transposed ? (count == 4   ? "stmatrix.x4.trans"
                                                      : count == 2 ? "stmatrix.x2.trans"
                                                                   : "stmatrix.x1.trans")
                                                   : (count == 4   ? "stmatrix.x4"
                                                      : count == 2 ? "stmatrix.x2"
                                                                   : "stmatrix.x1"),
                                        true, executeMatrices<count, transposed, true>};

/// Only the first 8 count lanes' addresses are used.
void checkRow(const char* instruction, const void* row, int count, const Place& place) {
  const Thread& self = thread();
  if (self.lane >= 8 * count) return;
  if (reinterpret_cast<uintptr_t>(row) & 15)
    fail(place, std::string(instruction) + " takes rows at multiples of 16 bytes; this lane's is at " + describeAddress(row) + ".");
  if (!inSharedMemory(*self.block, row, 16))
    fail(place, std::string(instruction) + ": this lane's row, at " + describeAddress(row) + ", is not within the block's shared memory.");
}

const Collective& chooseLoad(int count, bool transposed) {
  if (transposed) return count == 4 ? loadCollective<4, true> : count == 2 ? loadCollective<2, true> : loadCollective<1, true>;
  return count == 4 ? loadCollective<4, false> : count == 2 ? loadCollective<2, false> : loadCollective<1, false>;
}

const Collective& chooseStore(int count, bool transposed) {
  if (transposed) return count == 4 ? storeCollective<4, true> : count == 2 ? storeCollective<2, true> : storeCollective<1, true>;
  return count == 4 ? storeCollective<4, false> : count == 2 ? storeCollective<2, false> : storeCollective<1, false>;
}

}  // namespace

void mma(Mma kind, float* d, const uint32_t* a, const uint32_t* b, const Place& place) {
  MmaOperands operands = {d, a, b};
  meet(mmaCollectives[static_cast<int>(kind)], 0xffffffffu, &operands, place);
}

void loadMatrices(uint32_t* r, const void* row, int count, bool transposed, const Place& place) {
  const Collective& collective = chooseLoad(count, transposed);
  checkRow(collective.name, row, count, place);
  void* const pc = __builtin_return_address(0);
  MatrixOperands operands = {static_cast<unsigned char*>(const_cast<void*>(row)), r, pc, {}};
  meet(collective, 0xffffffffu, &operands, place);
  operands.forEachAccess(count, [&](unsigned char* address, size_t bytes) { tracedRead(address, bytes, pc); });
}

void storeMatrices(void* row, const uint32_t* r, int count, bool transposed, const Place& place) {
  const Collective& collective = chooseStore(count, transposed);
  checkRow(collective.name, row, count, place);
  void* const pc = __builtin_return_address(0);
  MatrixOperands operands = {static_cast<unsigned char*>(row), const_cast<uint32_t*>(r), pc, {}};
  meet(collective, 0xffffffffu, &operands, place);
  operands.forEachAccess(count, [&](unsigned char* address, size_t bytes) { tracedWrite(address, bytes, pc); });
}

}  // namespace repa::simt
