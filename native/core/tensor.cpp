#include "core/tensor.h"

#include <string>

#include "core/error.h"

namespace repa {

Tensor Tensor::empty(Device& device, const Shape& shape, DType dtype, const char* purpose) {
  Tensor tensor;
  tensor.shape_ = shape;
  tensor.dtype_ = dtype;
  shape.requireCountable(purpose);
  tensor.storage_ = SharedStorage::allocate(device, tensor.bytes(), purpose);
  return tensor;
}

Tensor Tensor::reshape(const Shape& shape) const {
  if (shape.elements() != elements())
    throw Error(ErrorCode::shape, "reshape: " + shape_.text() + " cannot become " + shape.text() + ": the number of elements differs.");
  Tensor view = *this;
  view.shape_ = shape;
  return view;
}

Tensor Tensor::view(int64_t offset, const Shape& shape) const {
  if (offset < 0 || offset > elements() || shape.elements() > elements() - offset)
    throw Error(ErrorCode::shape, "view: " + shape.text() + " at element " + std::to_string(offset) + " does not fit into " + shape_.text() + ".");
  Tensor out = *this;
  out.offset_ += offset * dtypeBytes(dtype_);
  out.shape_ = shape;
  return out;
}

}  // namespace repa
