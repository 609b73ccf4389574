#include "core/shape.h"

#include <string>

#include "core/error.h"

namespace repa {

void Shape::append(int64_t size) {
  if (rank_ == kMaxRank) throw Error(ErrorCode::shape, "A tensor has at most six axes.");
  if (size < 0) throw Error(ErrorCode::shape, "An axis of a tensor has size " + std::to_string(size) + "; sizes are not negative.");
  sizes_[rank_++] = size;
}

void Shape::requireCountable(const char* purpose) const {
  int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) {
    if (sizes_[axis] == 0) continue;
    if (__builtin_mul_overflow(product, sizes_[axis], &product) || product > kMostElements)
      throw Error(ErrorCode::shape, std::string(purpose) + ": the shape " + text() + " has sizes that multiply to more than 2^48.");
  }
}

std::string Shape::text() const {
  std::string out = "[";
  for (int axis = 0; axis < rank_; ++axis) out += (axis ? ", " : "") + std::to_string(sizes_[axis]);
  return out + "]";
}

}  // namespace repa
