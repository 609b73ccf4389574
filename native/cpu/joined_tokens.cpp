#include "cpu/joined_tokens.h"

#include <cstring>

#include "core/divide_up.h"
#include "cpu/chunks.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// Of a run of bytes, what a thread takes at a time.
constexpr int64_t kPieceBytes = kChunkFloats * static_cast<int64_t>(sizeof(float));

/// body(sample, begin, bytes, isFirst) for the pieces of both runs of every sample.
template <class Body>
void overPieces(ThreadPool& pool, int64_t batch, int64_t firstBytes, int64_t restBytes, Body body) {
  const int64_t firstPieces = divideUp(firstBytes, kPieceBytes), pieces = firstPieces + divideUp(restBytes, kPieceBytes);
  pool.parallelFor(batch * pieces, [&](int64_t index, int) {
    const int64_t sample = index / pieces, piece = index % pieces;
    const bool isFirst = piece < firstPieces;
    const int64_t begin = (isFirst ? piece : piece - firstPieces) * kPieceBytes, left = (isFirst ? firstBytes : restBytes) - begin;
    body(sample, begin, static_cast<size_t>(left < kPieceBytes ? left : kPieceBytes), isFirst);
  });
}

const char* at(const void* bytes, int64_t offset) { return static_cast<const char*>(bytes) + offset; }
char* at(void* bytes, int64_t offset) { return static_cast<char*>(bytes) + offset; }

void joinTokens(ThreadPool& pool, const JoinTokensArgs& args) {
  overPieces(pool, args.batch, args.firstBytes, args.restBytes, [&](int64_t sample, int64_t begin, size_t bytes, bool isFirst) {
    const void* from = isFirst ? args.first : args.rest;
    char* to = at(args.out, sample * (args.firstBytes + args.restBytes) + (isFirst ? 0 : args.firstBytes) + begin);
    if (from) std::memcpy(to, at(from, sample * (isFirst ? args.firstBytes : args.restBytes) + begin), bytes);
    else std::memset(to, 0, bytes);
  });
}

void splitTokens(ThreadPool& pool, const SplitTokensArgs& args) {
  overPieces(pool, args.batch, args.firstBytes, args.restBytes, [&](int64_t sample, int64_t begin, size_t bytes, bool isFirst) {
    const char* from = at(args.x, sample * (args.firstBytes + args.restBytes) + (isFirst ? 0 : args.firstBytes) + begin);
    std::memcpy(at(isFirst ? args.first : args.rest, sample * (isFirst ? args.firstBytes : args.restBytes) + begin), from, bytes);
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const JoinedTokensKernels& joinedTokensKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr JoinedTokensKernels table = {REPA_LEVEL::joinTokens, REPA_LEVEL::splitTokens};
  return table;
}

}  // namespace repa::cpu
