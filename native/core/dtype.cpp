#include "core/dtype.h"

#include <string>

#include "core/error.h"

namespace repa {

DType dtypeOf(const char* purpose, const std::string& name) {
  for (DType dtype : {DType::f32, DType::bf16, DType::f16, DType::i32, DType::u8, DType::f64})
    if (name == dtypeName(dtype)) return dtype;
  throw Error(ErrorCode::dtype, std::string(purpose) + ": \"" + name + "\" is not a dtype of a device tensor: expected f32, bf16, f16, i32, u8 or f64.");
}

}  // namespace repa
