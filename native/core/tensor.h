// Tensor: a contiguous, row-major block on one device with a shape and a dtype. A value that shares its storage when copied.
#pragma once

#include "core/dtype.h"
#include "core/shape.h"
#include "core/shared_storage.h"

namespace repa {

class Tensor {
 public:
  Tensor() = default;

  /// Memory for a tensor, with undefined values. `purpose` (an operation's name) goes into the out-of-memory error.
  static Tensor empty(Device& device, const Shape& shape, DType dtype, const char* purpose);

  bool defined() const { return static_cast<bool>(storage_); }
  Device& device() const { return storage_.device(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size(int axis) const { return shape_[axis]; }
  int64_t elements() const { return shape_.elements(); }
  int64_t bytes() const { return elements() * dtypeBytes(dtype_); }
  bool sharesStorage() const { return storage_.isShared(); }

  void* data() const { return static_cast<char*>(storage_.data()) + offset_; }
  float* f32() const { return static_cast<float*>(data()); }
  int32_t* i32() const { return static_cast<int32_t*>(data()); }
  uint8_t* u8() const { return static_cast<uint8_t*>(data()); }
  double* f64() const { return static_cast<double*>(data()); }

  /// The same elements under another shape. Throws Error(shape) where the counts differ.
  Tensor reshape(const Shape& shape) const;

  /// `shape` elements that begin `offset` elements into this tensor: how named parameters are views into one arena. Throws
  /// Error(shape) where they do not lie in it.
  Tensor view(int64_t offset, const Shape& shape) const;

 private:
  SharedStorage storage_;
  int64_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::f32;
};

}  // namespace repa
