// wgmma.mma_async (PTX ISA 9.7.15): the product of a 64 x 16 and a 16 x N tile by the four warps of a warpgroup.
//
// The accumulators are gathered from the lanes' registers at the issue and the registers poisoned with NaN; shared memory is read, once
// per warpgroup, and the registers are written at the wait. A checksum of the operands, taken when the fourth warp issues, tells
// whether shared memory changed in between.
//
// For ThreadSanitizer the tensor core that reads is a thread of its own, as wgmma is asynchronous (8.6): it comes after the issue, and
// every lane that has waited comes after it. A kernel may let any one lane say that a buffer has been read (gemm_sm90.cu lets lane 0),
// whichever lane's wait the reads happened to be made in here.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "simt/place.h"

namespace repa::simt {

struct Block;
struct Warp;

constexpr int warpgroupWarps = 4;
constexpr int wgmmaRowsPerWarp = 16;
constexpr int wgmmaMaxColumns = 256;
constexpr int wgmmaDepth = 16;
/// More than are ever pending at once, so that none is ordered after what was issued since.
constexpr int wgmmaSyncs = 64;

/// A warp's rows of an accumulator, and while none is pending what they were when last written to the registers.
struct WarpAccumulator {
  float* registers[32];
  int columns;
  bool pending;
  unsigned lastGroup;  // of the warp's groups, the last that adds to it
  float rows[wgmmaRowsPerWarp][wgmmaMaxColumns];
};

struct WgmmaShape {
  int columns;
  bool half;  // f16 operands; bf16 else
  bool registersA;
  bool transposeA, transposeB;  // MN-major
  bool accumulate;              // scale-d
  bool operator==(const WgmmaShape&) const = default;
};

/// What is multiplied, and where the instruction stands.
struct WgmmaOperands {
  WgmmaShape shape;
  uint64_t descriptorA, descriptorB;
  Place place;
  void* pc;
};

struct WgmmaOperation {
  WgmmaOperands operands;
  unsigned issuedWarps = 0;  // bits
  bool executed = false;
  uint64_t checksum = 0;
  float registersA[warpgroupWarps * wgmmaRowsPerWarp][wgmmaDepth];
  WarpAccumulator* accumulators[warpgroupWarps] = {};
};

struct Warpgroup {
  std::deque<WgmmaOperation> operations;  // those that some warp has not issued or nobody has executed
  uint64_t firstOperation = 0;            // the number of operations.front()
  uint64_t issued[warpgroupWarps] = {};   // how many each warp has issued
  /// For each warp the numbers that its closed groups end at, oldest first, and how many groups were retired.
  std::deque<uint64_t> groupEnds[warpgroupWarps];
  unsigned retiredGroups[warpgroupWarps] = {};
  uint64_t retiredOperations[warpgroupWarps] = {};  // the number that the last retired group ends at
  bool fenced[warpgroupWarps] = {};            // since registers were last written
  bool fencedSinceGroup[warpgroupWarps] = {};  // since a group was last closed
  /// For ThreadSanitizer, by an operation's number: what the tensor core's reads come after, and what comes after them.
  char issueSync[wgmmaSyncs] = {}, readSync[wgmmaSyncs] = {};
  std::vector<std::unique_ptr<WarpAccumulator>> accumulators[warpgroupWarps];
};

/// What a lane hands to an issue.
struct WgmmaIssue {
  WgmmaOperands operands;
  float* registers;
  const uint32_t* registersA;
  bool lastOfWarpgroup;  // set for one lane of the fourth warp to issue
};

void wgmmaIssue(WgmmaIssue& issue);
void wgmmaFence(const Place& place);
void wgmmaCommit(const Place& place);
void wgmmaWait(int newest, const Place& place);

/// A matrix descriptor (9.7.15.5.1.2.2) of base offset 0: a swizzled tile starts where the pattern does.
uint64_t matrixDescriptorBits(const void* tile, unsigned leadingBytes, unsigned strideBytes, uint64_t swizzle, const Place& place);
uint64_t advancedDescriptorBits(uint64_t bits, unsigned bytes, const Place& place);

/// The matrix descriptor's address field for an address in dynamic shared memory.
uint32_t sharedWindowOffset(const void* address, const Place& place);

}  // namespace repa::simt
