// Division of indices by numbers that only the call knows, in three instructions where the chip's own takes some twenty.
// Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994.
#pragma once

#include <cstdint>

#include "cuda/kernel.h"

namespace repa::cuda {

/// Divides numbers from 0 to 2^31 - 1 by `value`, which is one of them and not 0.
class Divisor {
 public:
  explicit Divisor(int64_t value) : value_(static_cast<uint32_t>(value)) {
    while ((uint64_t{1} << shift_) < value_) ++shift_;
    multiplier_ = static_cast<uint32_t>((((uint64_t{1} << shift_) - value_) << 32) / value_ + 1);
  }

  __device__ __forceinline__ int quotient(int n) const {
    return static_cast<int>((__umulhi(static_cast<uint32_t>(n), multiplier_) + static_cast<uint32_t>(n)) >> shift_);
  }
  /// n becomes the remainder; the quotient is the result.
  __device__ __forceinline__ int divide(int& n) const {
    const int q = quotient(n);
    n -= q * static_cast<int>(value_);
    return q;
  }
  __device__ __forceinline__ int value() const { return static_cast<int>(value_); }

 private:
  uint32_t value_, multiplier_ = 0, shift_ = 0;
};

}  // namespace repa::cuda
