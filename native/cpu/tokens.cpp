#include "cpu/tokens.h"

#include <cmath>

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

/// body(row) for each of `rows` rows of `width` floats, which threads divide as rowParts says.
template <class Body>
void overRows(ThreadPool& pool, int64_t rows, int64_t width, int64_t leastRows, Body body) {
  const int64_t parts = rowParts(rows, width, leastRows);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(rows, parts, part);
    for (int64_t row = range.begin; row < range.end; ++row) body(row);
  });
}

void prependTokens(ThreadPool& pool, const PrependTokensArgs& args) {
  const int64_t width = args.width;
  const int64_t classTokens = args.classToken ? 1 : 0;
  const int64_t before = classTokens + args.registers;
  const int64_t tokens = before + args.patches;
  const int64_t rows = args.batch * tokens;
  overRows(pool, rows, width, 1, [&](int64_t row) {
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
  });
}

void dropTokens(ThreadPool& pool, const DropTokensArgs& args) {
  const int64_t kept = args.tokens - args.first;
  const int64_t rows = args.batch * kept;
  overRows(pool, rows, args.width, 1, [&](int64_t row) {
    const int64_t from = row / kept * args.tokens + args.first + row % kept;
    writeToken(args.width, args.x + from * args.width, nullptr, args.out + row * args.width);
  });
}

void gatherTokens(ThreadPool& pool, const GatherTokensArgs& args) {
  const int64_t rows = args.batch * args.taken;
  overRows(pool, rows, args.width, 1, [&](int64_t row) {
    const int64_t id = args.ids[row];
    float* out = args.out + row * args.width;
    if (id >= 0 && id < args.tokens) {
      writeToken(args.width, args.x + (row / args.taken * args.tokens + id) * args.width, nullptr, out);
    } else if (id == -1 && args.fill) {
      writeToken(args.width, args.fill, nullptr, out);
    } else {
      for (int64_t i = 0; i < args.width; ++i) out[i] = NAN;
    }
  });
}

/// Each row of the result looks through its sample's ids, which are few, for its own.
void gatherTokensBackward(ThreadPool& pool, const GatherTokensBackwardArgs& args) {
  const int64_t sums = args.tokens + (args.dFill ? 1 : 0);
  const int64_t rows = args.batch * sums;
  overRows(pool, rows, args.width, 2, [&](int64_t row) {
    const int64_t sample = row / sums, token = row % sums;
    const bool isFill = token == args.tokens;
    const int64_t id = isFill ? -1 : token;
    float* sum = isFill ? args.dFill + sample * args.width : args.dX + (sample * args.tokens + token) * args.width;
    std::memset(sum, 0, sizeof(float) * static_cast<size_t>(args.width));
    for (int64_t m = 0; m < args.taken; ++m) {
      const int64_t place = sample * args.taken + m;
      if (args.ids[place] == id) writeToken(args.width, args.dOut + place * args.width, sum, sum);
    }
  });
}

void mergeTokens(ThreadPool& pool, const MergeTokensArgs& args) {
  const int64_t rows = args.batch * args.tokens;
  overRows(pool, rows, args.width, 1, [&](int64_t row) {
    const int64_t place = args.places[row];
    float* out = args.out + row * args.width;
    const bool isMerged = place >= 0 && (!args.x || place < args.merged);
    if (isMerged && args.x) {
      writeToken(args.width, args.x + (row / args.tokens * args.merged + place) * args.width, nullptr, out);
    } else if (place == -1 && args.base) {
      writeToken(args.width, args.base + row * args.width, nullptr, out);
    } else {
      const float value = isMerged || place == -1 ? 0.0f : NAN;
      for (int64_t i = 0; i < args.width; ++i) out[i] = value;
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const TokensKernels& tokensKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr TokensKernels table = {level::prependTokens, level::dropTokens, level::gatherTokens,
                                          level::gatherTokensBackward, level::mergeTokens};
  return table;
}

}  // namespace repa::cpu
