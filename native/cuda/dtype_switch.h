// From a tensor's dtype, known at run time, to the type of a kernel's template argument.
#pragma once

#include "core/error_code.h"
#include "core/tensor.h"
#include "cuda/float16.h"

namespace repa::cuda {

template <class T>
struct TypeTag {
  using Type = T;
};

/// Calls body(TypeTag<float>), body(TypeTag<bf16>) or body(TypeTag<f16>): what the ops' requireCompute lets through.
template <class Body>
void withComputeType(DType dtype, Body&& body) {
  switch (dtype) {
    case DType::f32: return body(TypeTag<float>{});
    case DType::bf16: return body(TypeTag<bf16>{});
    case DType::f16: return body(TypeTag<f16>{});
    default: throwError(ErrorCode::dtype, "no kernel computes in %s", dtypeName(dtype));
  }
}

/// The elements as T.
template <class T>
T* elements(const Tensor& tensor) {
  return static_cast<T*>(tensor.data());
}

}  // namespace repa::cuda
