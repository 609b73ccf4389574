#include "cpu/concatenate.h"

#include <cstring>

#include "cpu/chunks.h"

namespace repa::cpu::REPA_LEVEL {
namespace {

void concatenate(ThreadPool& pool, const ConcatenateArgs& args) {
  const int64_t chunks = rowParts(args.rows, args.width, 1);
  pool.parallelFor(chunks, [&](int64_t chunk, int) {
    const Range rows = evenPart(args.rows, chunks, chunk);
    for (int64_t row = rows.begin; row < rows.end; ++row)
      std::memcpy(args.out + row * args.outWidth, args.part + row * args.width, static_cast<size_t>(args.width) * sizeof(float));
  });
}

}  // namespace
}  // namespace repa::cpu::REPA_LEVEL

namespace repa::cpu {

template <>
const ConcatenateKernels& concatenateKernels<CpuLevel::REPA_LEVEL>() {
  static constexpr ConcatenateKernels table = {REPA_LEVEL::concatenate};
  return table;
}

}  // namespace repa::cpu
