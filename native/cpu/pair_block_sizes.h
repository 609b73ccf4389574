// The sizes of pair_block.h that a caller's scratch follows from; the same at every CPU level.
#pragma once

#include <cstdint>

namespace repa::cpu {

constexpr int64_t kPairRows = 96;
constexpr int64_t kPairColumns = 128;
/// Of the rows' elements at a time: a packed block stays in the second-level cache.
constexpr int64_t kPairDepth = 256;

}  // namespace repa::cpu
