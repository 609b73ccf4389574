#include "cpu/token_grid.h"

#include "core/divide_up.h"
#include "cpu/chunks.h"
#include "cpu/vector_loop.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

constexpr int kCells = 9;

/// The token `down` rows and `right` columns from token `t` of the grid, or -1 outside of it.
int64_t tokenAt(int64_t t, int64_t down, int64_t right, int64_t rows, int64_t columns) {
  const int64_t row = t / columns + down, column = t % columns + right;
  return row < 0 || row >= rows || column < 0 || column >= columns ? -1 : row * columns + column;
}

/// body(sample, token) for all tokens, parts of them in parallel.
template <class Body>
void forEachToken(ThreadPool& pool, int64_t batch, int64_t tokens, int64_t floatsEach, Body body) {
  const int64_t all = batch * tokens;
  const int64_t parts = rowParts(all, floatsEach, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(all, parts, part);
    for (int64_t i = range.begin; i < range.end; ++i) body(i / tokens, i % tokens);
  });
}

void unfoldTokens(ThreadPool& pool, const UnfoldTokensArgs& args) {
  const int64_t tokens = args.rows * args.columns, width = args.width;
  forEachToken(pool, args.batch, tokens, kCells * width, [&](int64_t sample, int64_t token) {
    float* out = args.out + (sample * tokens + token) * kCells * width;
    for (int cell = 0; cell < kCells; ++cell) {
      const int64_t from = tokenAt(token, cell / 3 - 1, cell % 3 - 1, args.rows, args.columns);
      const float* x = args.x + (sample * tokens + from) * width;
      for (int64_t d = 0; d < width; ++d) out[d * kCells + cell] = from < 0 ? 0.0f : x[d];
    }
  });
}

void unfoldTokensBackward(ThreadPool& pool, const UnfoldTokensBackwardArgs& args) {
  const int64_t tokens = args.rows * args.columns, width = args.width;
  forEachToken(pool, args.batch, tokens, kCells * width, [&](int64_t sample, int64_t token) {
    float* dX = args.dX + (sample * tokens + token) * width;
    for (int64_t d = 0; d < width; ++d) dX[d] = 0.0f;
    for (int cell = 0; cell < kCells; ++cell) {
      const int64_t reader = tokenAt(token, 1 - cell / 3, 1 - cell % 3, args.rows, args.columns);
      if (reader < 0) continue;
      const float* dOut = args.dOut + (sample * tokens + reader) * kCells * width;
      for (int64_t d = 0; d < width; ++d) dX[d] += dOut[d * kCells + cell];
    }
  });
}

void standardizeTokens(ThreadPool& pool, const StandardizeTokensArgs& args) {
  const int64_t groups = divideUp(args.width, kLanes);
  const int64_t all = args.batch * groups;
  const int64_t parts = rowParts(all, args.tokens * kLanes, 1);
  pool.parallelFor(parts, [&](int64_t part, int) {
    const Range range = evenPart(all, parts, part);
    for (int64_t i = range.begin; i < range.end; ++i) {
      const int64_t first = i % groups * kLanes;
      const PartialVector lanes{static_cast<int>(args.width - first < kLanes ? args.width - first : kLanes)};
      const float* x = args.x + i / groups * args.tokens * args.width + first;
      float* out = args.out + i / groups * args.tokens * args.width + first;
      // Four sums side by side: they round less than one.
      Vec sums[kSlots] = {}, squares[kSlots] = {};
      for (int64_t t = 0; t < args.tokens; ++t) sums[t % kSlots] += load(x + t * args.width, lanes);
      const Vec mean = ((sums[0] + sums[1]) + (sums[2] + sums[3])) / static_cast<float>(args.tokens);
      for (int64_t t = 0; t < args.tokens; ++t) {
        const Vec centred = load(x + t * args.width, lanes) - mean;
        squares[t % kSlots] += centred * centred;
      }
      Vec deviation = ((squares[0] + squares[1]) + (squares[2] + squares[3])) / static_cast<float>(args.tokens - 1);
      for (int lane = 0; lane < kLanes; ++lane) deviation[lane] = __builtin_sqrtf(deviation[lane]) + args.epsilon;
      for (int64_t t = 0; t < args.tokens; ++t)
        store(out + t * args.width, (load(x + t * args.width, lanes) - args.share * mean) / deviation, lanes);
    }
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const TokenGridKernels& tokenGridKernels<CpuLevel::REPA_LEVEL>() {
  namespace level = REPA_LEVEL;
  static constexpr TokenGridKernels table = {level::unfoldTokens, level::unfoldTokensBackward, level::standardizeTokens};
  return table;
}

}  // namespace repa::cpu
