// The sizes of a tensor's axes.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <iosfwd>

namespace repa {

/// Up to six axes, row-major. A scalar has none.
class Shape {
 public:
  static constexpr int kMaxRank = 6;
  /// More than any memory holds, and so few that kernels may multiply sizes, bytes and threads without a look at 64 bits.
  static constexpr int64_t kMostElements = int64_t{1} << 48;

  Shape() = default;
  Shape(std::initializer_list<int64_t> sizes) {
    for (int64_t size : sizes) append(size);
  }

  /// Throws Error(shape) where there are six already, or the size is negative.
  void append(int64_t size);

  int rank() const { return rank_; }
  /// Size of an axis; negative axes count from the end.
  int64_t operator[](int axis) const { return sizes_[axis < 0 ? axis + rank_ : axis]; }

  /// Of a shape that is countable, as every tensor's is.
  int64_t elements() const {
    int64_t product = 1;
    for (int axis = 0; axis < rank_; ++axis) product *= sizes_[axis];
    return product;
  }

  /// Throws Error(shape) where the sizes multiply to more than kMostElements, also where another size is 0: the kernels multiply some of
  /// a tensor's sizes and not all. `purpose`: an operation's name.
  void requireCountable(const char* purpose) const;

  bool operator==(const Shape& other) const {
    if (rank_ != other.rank_) return false;
    for (int axis = 0; axis < rank_; ++axis)
      if (sizes_[axis] != other.sizes_[axis]) return false;
    return true;
  }
  bool operator!=(const Shape& other) const { return !(*this == other); }

  /// "[4, 256, 384]".
  std::string text() const;

 private:
  int64_t sizes_[kMaxRank] = {};
  int rank_ = 0;
};

/// Product of all axes but the last: how many rows [..., C] has, also where C is 0.
inline int64_t rowsOf(const Shape& shape) {
  int64_t rows = 1;
  for (int axis = 0; axis + 1 < shape.rank(); ++axis) rows *= shape[axis];
  return rows;
}

}  // namespace repa
