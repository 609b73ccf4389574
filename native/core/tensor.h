// Tensor: a contiguous, row-major block on one device with a shape and a dtype. A value that shares its storage when copied.
#pragma once

#include <memory>

#include "core/dtype.h"
#include "core/shape.h"

namespace repa {

// Not its header: every file of kernels reads this one, for both architectures.
class Device;

/// A block of a device's memory, given back to its allocator with the last reference.
class Storage {
 public:
  Storage(Device& device, int64_t bytes, const char* purpose);
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  Device& device() const { return device_; }
  void* data() const { return data_; }

 private:
  Device& device_;
  void* data_;
  int64_t bytes_;  // as the allocator counts
};

class Tensor {
 public:
  Tensor() = default;

  /// Memory for a tensor, with undefined values. `purpose` (an operation's name) goes into the out-of-memory error.
  static Tensor empty(Device& device, const Shape& shape, DType dtype, const char* purpose) {
    Tensor tensor;
    tensor.shape_ = shape;
    tensor.dtype_ = dtype;
    shape.requireCountable(purpose);
    tensor.storage_ = std::make_shared<Storage>(device, tensor.bytes(), purpose);
    return tensor;
  }

  bool defined() const { return storage_ != nullptr; }
  Device& device() const { return storage_->device(); }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t size(int axis) const { return shape_[axis]; }
  int64_t elements() const { return shape_.elements(); }
  int64_t bytes() const { return elements() * dtypeBytes(dtype_); }
  bool sharesStorage() const { return storage_.use_count() > 1; }

  void* data() const { return static_cast<char*>(storage_->data()) + offset_; }
  float* f32() const { return static_cast<float*>(data()); }
  int32_t* i32() const { return static_cast<int32_t*>(data()); }
  uint8_t* u8() const { return static_cast<uint8_t*>(data()); }
  double* f64() const { return static_cast<double*>(data()); }

  /// The same elements under another shape. Throws Error(shape) where the counts differ.
  Tensor reshape(const Shape& shape) const {
    if (shape.elements() != elements())
      throw Error(ErrorCode::shape, "reshape: " + shape_.text() + " cannot become " + shape.text() + ": the number of elements differs.");
    Tensor view = *this;
    view.shape_ = shape;
    return view;
  }

  /// `shape` elements that begin `offset` elements into this tensor: how named parameters are views into one arena.
  Tensor view(int64_t offset, const Shape& shape) const {
    if (offset < 0 || offset > elements() || shape.elements() > elements() - offset)
      throw Error(ErrorCode::shape, "view: " + shape.text() + " at element " + std::to_string(offset) + " does not fit into " + shape_.text() + ".");
    Tensor out = *this;
    out.offset_ += offset * dtypeBytes(dtype_);
    out.shape_ = shape;
    return out;
  }

 private:
  std::shared_ptr<Storage> storage_;
  int64_t offset_ = 0;  // bytes
  Shape shape_;
  DType dtype_ = DType::f32;
};

}  // namespace repa
