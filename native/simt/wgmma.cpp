#include "simt/wgmma.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <string>

#include "cuda/float16.h"
#include "simt/barrier.h"
#include "simt/engine.h"
#include "simt/failure.h"
#include "simt/scheduler.h"

namespace repa::simt {

namespace {

using cuda::bf16;
using cuda::f16;

constexpr int rows = warpgroupWarps * wgmmaRowsPerWarp;
constexpr int chunkElements = 8;  // 16 bytes: what no layout takes apart
constexpr uint32_t allLanes = 0xffffffffu;

/// The fields of a matrix descriptor (9.7.15.5.1.2.2), in bytes.
struct Descriptor {
  size_t start, leading, stride;
  int baseOffset, swizzle;  // swizzle: 0 none, 1 128 bytes, 2 64 bytes, 3 32 bytes

  explicit Descriptor(uint64_t bits)
      : start((bits & 0x3fff) << 4),
        leading((bits >> 16 & 0x3fff) << 4),
        stride((bits >> 32 & 0x3fff) << 4),
        baseOffset(static_cast<int>(bits >> 49 & 7)),
        swizzle(static_cast<int>(bits >> 62)) {}

  size_t width() const { return swizzle == 0 ? 16 : 256 >> swizzle; }

  /// Bits 4.. exchanged by bits 7.. of the address, as the TMA writes it.
  size_t swizzled(size_t offset) const { return swizzle == 0 ? offset : offset ^ ((offset >> 3) & (width() - 16)); }

  /// The 16 bytes that hold elements `8 chunk` and up of the contiguous dimension, in line `line` of the other one. K-major: lines are rows
  /// (M or N) and chunks go along K; MN-major the other way about.
  size_t chunkOffset(int line, int chunk, bool transposed) const {
    const size_t lineGroup = line / 8, lineInGroup = line % 8;
    if (!transposed) {
      if (swizzle == 0) return start + lineGroup * stride + chunk * leading + lineInGroup * 16;
      return swizzled(start + lineGroup * stride + lineInGroup * width() + chunk * 16);
    }
    if (swizzle == 0) return start + chunk * stride + lineGroup * leading + lineInGroup * 16;
    const size_t chunksPerLine = width() / 16;
    return swizzled(start + chunk / chunksPerLine * leading + chunk % chunksPerLine * 16 + lineGroup * stride + lineInGroup * width());
  }
};

/// Calls visit(address of 16 bytes, line, chunk) for a whole operand of `extent` rows or columns and 16 along K.
template <class Visit>
void forEachChunk(const Block& block, uint64_t bits, bool transposed, int extent, const Place& place, Visit visit) {
  const Descriptor descriptor(bits);
  if (descriptor.baseOffset != 0)
    fail(place, "the shim knows wgmma's matrix descriptors with base offset 0 only: start tiles at multiples of 1024 bytes.");
  const int lines = transposed ? wgmmaDepth : extent;
  const int chunks = (transposed ? extent : wgmmaDepth) / chunkElements;
  for (int line = 0; line < lines; ++line)
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const size_t offset = descriptor.chunkOffset(line, chunk, transposed);
      if (offset + 16 > block.sharedBytes)
        fail(place, "a wgmma operand reaches to byte " + std::to_string(offset + 16) + " of the block's " +
                        std::to_string(block.sharedBytes) + " bytes of dynamic shared memory: its descriptor is wrong.");
      visit(block.sharedMemory + offset, line, chunk);
    }
}

uint64_t checksum(const Block& block, const WgmmaOperands& operands) {
  uint64_t sum = 0;
  const auto add = [&](const unsigned char* address, int, int) {
    uint64_t halves[2];
    std::memcpy(halves, address, sizeof halves);
    for (const uint64_t half : halves) sum = (sum ^ half) * 0x9E3779B97F4A7C15u;
    sum ^= sum >> 29;
  };
  if (!operands.shape.registersA) forEachChunk(block, operands.descriptorA, operands.shape.transposeA, rows, operands.place, add);
  forEachChunk(block, operands.descriptorB, operands.shape.transposeB, operands.shape.columns, operands.place, add);
  return sum;
}

void trace(const Block& block, const WgmmaOperands& operands) {
#if defined(SIMT_TSAN)
  const auto read = [&](const unsigned char* address, int, int) { tracedRead(address, 16, operands.pc); };
  if (!operands.shape.registersA) forEachChunk(block, operands.descriptorA, operands.shape.transposeA, rows, operands.place, read);
  forEachChunk(block, operands.descriptorB, operands.shape.transposeB, operands.shape.columns, operands.place, read);
#else
  (void)block;
  (void)operands;
#endif
}

template <class T>
void widen(const unsigned char* address, float (&values)[chunkElements]) {
  uint16_t bits[chunkElements];
  std::memcpy(bits, address, sizeof bits);
  for (int i = 0; i < chunkElements; ++i) values[i] = toFloat(T{bits[i]});
}

/// Eight columns at once; unaligned, as the rows of an accumulator may be.
using Columns = float __attribute__((vector_size(32), aligned(4)));

/// Adds the product to the accumulators of all four warps.
template <class T>
void execute(const Block& block, WgmmaOperation& operation) {
  static float a[rows][wgmmaDepth];
  alignas(32) static float b[wgmmaDepth][wgmmaMaxColumns];
  const WgmmaShape& shape = operation.operands.shape;
  if (shape.registersA) {
    std::memcpy(a, operation.registersA, sizeof a);
  } else {
    forEachChunk(block, operation.operands.descriptorA, shape.transposeA, rows, operation.operands.place,
                 [&](const unsigned char* address, int line, int chunk) {
                   float values[chunkElements];
                   widen<T>(address, values);
                   for (int i = 0; i < chunkElements; ++i)
                     shape.transposeA ? a[chunk * chunkElements + i][line] = values[i] : a[line][chunk * chunkElements + i] = values[i];
                 });
  }
  forEachChunk(block, operation.operands.descriptorB, shape.transposeB, shape.columns, operation.operands.place,
               [&](const unsigned char* address, int line, int chunk) {
                 float values[chunkElements];
                 widen<T>(address, values);
                 for (int i = 0; i < chunkElements; ++i)
                   shape.transposeB ? b[line][chunk * chunkElements + i] = values[i] : b[chunk * chunkElements + i][line] = values[i];
               });
  for (int row = 0; row < rows; ++row) {
    float* sums = operation.accumulators[row / wgmmaRowsPerWarp]->rows[row % wgmmaRowsPerWarp];
    for (int column = 0; column < shape.columns; column += chunkElements) {
      const auto at = [column](int k) -> const Columns& { return *reinterpret_cast<const Columns*>(b[k] + column); };
      Columns sum = a[row][0] * at(0);
      for (int k = 1; k < wgmmaDepth; ++k) sum += a[row][k] * at(k);
      auto& total = *reinterpret_cast<Columns*>(sums + column);
      total = shape.accumulate ? total + sum : sum;
    }
  }
  operation.executed = true;
}

/// Where register i of a lane stands in its warp's 16 rows (9.7.15.5.1.1, matrix D).
int fragmentRow(int lane, int i) { return lane / 4 + (i >> 1 & 1) * 8; }
int fragmentColumn(int lane, int i) { return (i >> 2) * 8 + lane % 4 * 2 + (i & 1); }

Warpgroup& warpgroupOf(Warp& warp) { return *warp.block->warpgroups[warp.index / warpgroupWarps]; }

void gather(WarpAccumulator& accumulator) {
  for (int lane = 0; lane < warpLanes; ++lane)
    for (int i = 0; i < accumulator.columns / 2; ++i)
      accumulator.rows[fragmentRow(lane, i)][fragmentColumn(lane, i)] = accumulator.registers[lane][i];
}

bool registersUnchanged(const WarpAccumulator& accumulator) {
  for (int lane = 0; lane < warpLanes; ++lane)
    for (int i = 0; i < accumulator.columns / 2; ++i)
      if (std::memcmp(&accumulator.rows[fragmentRow(lane, i)][fragmentColumn(lane, i)], &accumulator.registers[lane][i], sizeof(float)))
        return false;
  return true;
}

void scatter(const WarpAccumulator& accumulator) {
  for (int lane = 0; lane < warpLanes; ++lane)
    for (int i = 0; i < accumulator.columns / 2; ++i)
      accumulator.registers[lane][i] = accumulator.rows[fragmentRow(lane, i)][fragmentColumn(lane, i)];
}

void poison(const WarpAccumulator& accumulator) {
  for (float* registers : accumulator.registers) std::fill_n(registers, accumulator.columns / 2, std::numeric_limits<float>::quiet_NaN());
}

WgmmaIssue& issueOf(Warp& warp, int lane) { return *static_cast<WgmmaIssue*>(warp.operands[lane]); }

/// The accumulator that the warp's lanes name, made ready for one more product.
WarpAccumulator& accumulatorFor(Warp& warp, Warpgroup& group, int warpInGroup) {
  const WgmmaIssue& issue = issueOf(warp, 0);
  auto& all = group.accumulators[warpInGroup];
  auto known = std::find_if(all.begin(), all.end(), [&](const auto& one) { return one->registers[0] == issue.registers; });
  const bool pending = known != all.end() && (*known)->pending;
  if (pending && (*known)->columns != issue.operands.shape.columns)
    fail(issue.operands.place, "wgmma adds to registers that a pending wgmma of another shape adds to.");
  if (pending) return **known;
  // 9.7.15.7.1: registers that the threads touched come before wgmma only through a fence.
  const bool unchanged = known != all.end() && (*known)->columns == issue.operands.shape.columns && registersUnchanged(**known);
  if (!group.fenced[warpInGroup] && !unchanged)
    fail(issue.operands.place, "wgmma.fence is missing between what the threads did to the accumulator's registers and this wgmma.");
  if (known == all.end()) {
    all.push_back(std::make_unique<WarpAccumulator>());
    known = all.end() - 1;
  }
  WarpAccumulator& accumulator = **known;
  accumulator.columns = issue.operands.shape.columns;
  accumulator.pending = true;
  for (int lane = 0; lane < warpLanes; ++lane) accumulator.registers[lane] = issueOf(warp, lane).registers;
  gather(accumulator);
  poison(accumulator);
  return accumulator;
}

template <class T>
void gatherRegistersA(Warp& warp, WgmmaOperation& operation, int warpInGroup) {
  for (int lane = 0; lane < warpLanes; ++lane)
    for (int r = 0; r < 4; ++r)
      for (int h = 0; h < 2; ++h) {
        const uint16_t bits = static_cast<uint16_t>(issueOf(warp, lane).registersA[r] >> (16 * h));
        operation.registersA[warpInGroup * wgmmaRowsPerWarp + lane / 4 + 8 * (r & 1)][lane % 4 * 2 + h + 8 * (r >> 1)] = toFloat(T{bits});
      }
}

void executeIssue(Warp& warp, uint32_t) {
  Warpgroup& group = warpgroupOf(warp);
  const int warpInGroup = warp.index % warpgroupWarps;
  WgmmaIssue& issue = issueOf(warp, 0);
  const WgmmaOperands& operands = issue.operands;
  const auto same = [&](const WgmmaOperands& other) {
    return other.shape == operands.shape && other.descriptorA == operands.descriptorA && other.descriptorB == operands.descriptorB;
  };
  for (int lane = 1; lane < warpLanes; ++lane)
    if (!same(issueOf(warp, lane).operands)) fail(operands.place, "divergence: the lanes of a warp give wgmma different descriptors.");
  const uint64_t number = group.issued[warpInGroup]++;
  if (number - group.firstOperation == group.operations.size()) group.operations.emplace_back().operands = operands;
  WgmmaOperation& operation = group.operations[number - group.firstOperation];
  if (!same(operation.operands))
    fail(operands.place, "divergence: the warps of a warpgroup issue different wgmma, or with different descriptors; the other one is at " +
                             std::string(operation.operands.place.file_name()) + ":" + std::to_string(operation.operands.place.line()) +
                             ".");
  WarpAccumulator& accumulator = accumulatorFor(warp, group, warpInGroup);
  accumulator.lastGroup = group.retiredGroups[warpInGroup] + static_cast<unsigned>(group.groupEnds[warpInGroup].size());
  operation.accumulators[warpInGroup] = &accumulator;
  if (operands.shape.registersA) {
    // 9.7.15.7.1 again; what the threads did to A is not known, so a group of products begins with a fence.
    if (!group.fencedSinceGroup[warpInGroup])
      fail(operands.place, "wgmma.fence is missing between what the threads did to A's registers and this wgmma.");
    if (operands.shape.half) gatherRegistersA<f16>(warp, operation, warpInGroup);
    else gatherRegistersA<bf16>(warp, operation, warpInGroup);
  }
  operation.issuedWarps |= 1u << warpInGroup;
  if (operation.issuedWarps != 0xf) return;
  operation.checksum = checksum(*warp.block, operation.operands);
  {
    const AsAsyncSide side;
    release(&group.issueSync[number % wgmmaSyncs]);
  }
  issue.lastOfWarpgroup = true;
  // Those who wait for the warpgroup's other warps look again.
  const int first = warp.index - warpInGroup;
  for (int w = 0; w < warpgroupWarps; ++w)
    for (Thread* thread : warp.block->warps[first + w].lanes)
      if (thread->wait == Wait::warpgroup) wake(*thread->warp, 1u << thread->lane);
}

void executeFence(Warp& warp, uint32_t) {
  Warpgroup& group = warpgroupOf(warp);
  group.fenced[warp.index % warpgroupWarps] = group.fencedSinceGroup[warp.index % warpgroupWarps] = true;
}

void executeCommit(Warp& warp, uint32_t) {
  Warpgroup& group = warpgroupOf(warp);
  const int warpInGroup = warp.index % warpgroupWarps;
  group.groupEnds[warpInGroup].push_back(group.issued[warpInGroup]);
  group.fencedSinceGroup[warpInGroup] = false;
}

constexpr Collective issueCollective = {"wgmma.mma_async", true, executeIssue};
constexpr Collective fenceCollective = {"wgmma.fence", true, executeFence};
constexpr Collective commitCollective = {"wgmma.commit_group", true, executeCommit};
constexpr Collective waitCollective = {"wgmma.wait_group", true, [](Warp&, uint32_t) {}};

void checkWarpgroup(const Place& place) {
  const Thread& self = thread();
  if (static_cast<size_t>(self.warp->index / warpgroupWarps * warpgroupWarps + warpgroupWarps) > self.block->warps.size())
    fail(place, "wgmma is for warpgroups of four warps; the block has " + std::to_string(self.block->threads) + " threads.");
}

/// All operations before number `end` have been issued by all four warps.
bool allIssued(const Warpgroup& group, uint64_t end) {
  for (const uint64_t issued : group.issued)
    if (issued < end) return false;
  return true;
}

void executeUpTo(Block& block, int warpgroup, uint64_t end) {
  static void* fibers[maxClusterBlocks][maxWarps / warpgroupWarps] = {};
  Warpgroup& group = *block.warpgroups[warpgroup];
  for (uint64_t number = group.firstOperation; number < end; ++number) {
    WgmmaOperation& operation = group.operations[number - group.firstOperation];
    if (operation.executed) continue;
    {
      Quiet quiet;
      if (checksum(block, operation.operands) != operation.checksum)
        fail(operation.operands.place, "shared memory that this wgmma reads changed between its issue and its wait.");
      operation.operands.shape.half ? execute<f16>(block, operation) : execute<bf16>(block, operation);
    }
    const AsEngine tensorCore(fibers[block.rankInCluster][warpgroup], *block.cluster);
    acquire(&group.issueSync[number % wgmmaSyncs]);
    trace(block, operation.operands);
    release(&group.readSync[number % wgmmaSyncs]);
  }
  Quiet quiet;
  while (!group.operations.empty() && group.operations.front().executed) {
    group.operations.pop_front();
    ++group.firstOperation;
  }
}

}  // namespace

void wgmmaIssue(WgmmaIssue& issue) {
  {
    Quiet quiet;
    checkWarpgroup(issue.operands.place);
    issue.operands.pc = __builtin_return_address(0);
    meet(issueCollective, allLanes, &issue, issue.operands.place);
  }
  // One lane's reads stand for all.
  if (!issue.lastOfWarpgroup) return;
  const AsAsyncSide side;
  trace(*thread().block, issue.operands);
}

void wgmmaFence(const Place& place) {
  checkWarpgroup(place);
  meet(fenceCollective, allLanes, nullptr, place);
}

void wgmmaCommit(const Place& place) {
  checkWarpgroup(place);
  meet(commitCollective, allLanes, nullptr, place);
}

void wgmmaWait(int newest, const Place& place) {
  checkWarpgroup(place);
  meet(waitCollective, allLanes, nullptr, place);
  Thread& self = thread();
  Warpgroup& group = warpgroupOf(*self.warp);
  const int warpInGroup = self.warp->index % warpgroupWarps;
  auto& ends = group.groupEnds[warpInGroup];
  unsigned& retired = group.retiredGroups[warpInGroup];
  // The first lane to come does it for all; the others wait no further.
  const auto outstanding = [&] { return static_cast<int>(ends.size()) > newest; };
  while (outstanding() && !allIssued(group, ends[ends.size() - newest - 1])) {
    Quiet quiet;
    park(self, Wait::warpgroup, "wgmma.wait_group", nullptr, place);
  }
  uint64_t& done = group.retiredOperations[warpInGroup];
  if (outstanding()) {
    const uint64_t end = ends[ends.size() - newest - 1];
    executeUpTo(*self.block, self.warp->index / warpgroupWarps, end);
    Quiet quiet;
    done = end;
    while (outstanding()) {
      ends.pop_front();
      ++retired;
    }
    for (auto& accumulator : group.accumulators[warpInGroup]) {
      if (!accumulator->pending || accumulator->lastGroup >= retired) continue;
      accumulator->pending = false;
      scatter(*accumulator);
    }
    group.fenced[warpInGroup] = false;
  }
  if (done > 0) acquire(&group.readSync[(done - 1) % wgmmaSyncs]);
}

uint64_t matrixDescriptorBits(const void* tile, unsigned leadingBytes, unsigned strideBytes, uint64_t swizzle, const Place& place) {
  constexpr unsigned fieldBytes = 1u << 18;  // 14 bits, in units of 16
  for (const unsigned bytes : {leadingBytes, strideBytes})
    if (bytes % 16 != 0 || bytes >= fieldBytes)
      fail(place, "a matrix descriptor's offsets are multiples of 16 bytes below " + std::to_string(fieldBytes) + ", not " +
                      std::to_string(static_cast<int>(bytes)) + ".");
  const size_t start = sharedWindowOffset(tile, place);
  const Descriptor descriptor(swizzle << 62);
  const size_t multiple = swizzle == 0 ? 16 : 8 * descriptor.width();
  if (start % multiple != 0)
    fail(place, "a tile of this swizzle starts at a multiple of " + std::to_string(multiple) + " bytes; this one is at " +
                    describeAddress(tile) + ".");
  return start >> 4 | static_cast<uint64_t>(leadingBytes >> 4) << 16 | static_cast<uint64_t>(strideBytes >> 4) << 32 | swizzle << 62;
}

uint64_t advancedDescriptorBits(uint64_t bits, unsigned bytes, const Place& place) {
  constexpr uint64_t startField = 0x3fff;
  if (bytes % 16 != 0 || (bits & startField) + (bytes >> 4) > startField)
    fail(place, "a matrix descriptor cannot be advanced by " + std::to_string(static_cast<int>(bytes)) +
                    " bytes: its start counts units of 16, in 14 bits.");
  return bits + (bytes >> 4);
}

uint32_t sharedWindowOffset(const void* address, const Place& place) {
  const Block& block = *thread().block;
  const auto* byte = static_cast<const unsigned char*>(address);
  if (byte < block.sharedMemory || byte >= block.sharedMemory + block.sharedBytes)
    fail(place, "under the shim this names dynamic shared memory only; " + describeAddress(address) + " is not in it.");
  return static_cast<uint32_t>(byte - block.sharedMemory);
}

}  // namespace repa::simt
