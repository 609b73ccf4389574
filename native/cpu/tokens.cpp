#include "cpu/tokens.h"

#include "cpu/chunks.h"
#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

/// out = token + position, or the token alone when there is no position.
void writeToken(int64_t width, const float* token, const float* position, float* out) {
  if (!position) {
    std::memcpy(out, token, sizeof(float) * static_cast<size_t>(width));
    return;
  }
  forEachVector(width, [&](int64_t i, auto lanes, int) {
    store(out + i, load(token + i, lanes) + load(position + i, lanes), lanes);
  });
}

void prependTokens(ThreadPool& pool, const PrependTokensArgs& args) {
  const int64_t width = args.width;
  const int64_t classTokens = args.classToken ? 1 : 0;
  const int64_t before = classTokens + args.registers;
  const int64_t tokens = before + args.patches;
  const int64_t rows = args.batch * tokens;
  const int64_t parts = rowParts(rows, width, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) {
      const int64_t sample = row / tokens;
      const int64_t token = row % tokens;
      float* out = args.out + row * width;
      if (token < classTokens) {
        writeToken(width, args.classToken, args.classPosition, out);
      } else if (token < before) {
        writeToken(width, args.registerTokens + (token - classTokens) * width, nullptr, out);
      } else {
        const int64_t patch = token - before;
        writeToken(width, args.patchTokens + (sample * args.patches + patch) * width,
                   args.patchPositions ? args.patchPositions + patch * width : nullptr, out);
      }
    }
  });
}

void dropTokens(ThreadPool& pool, const DropTokensArgs& args) {
  const int64_t kept = args.tokens - args.first;
  const int64_t rows = args.batch * kept;
  const int64_t parts = rowParts(rows, args.width, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) {
      const int64_t from = row / kept * args.tokens + args.first + row % kept;
      writeToken(args.width, args.x + from * args.width, nullptr, args.out + row * args.width);
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const TokensKernels& tokensKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr TokensKernels table = {level::prependTokens, level::dropTokens};
  return table;
}

}  // namespace repa::cpu
