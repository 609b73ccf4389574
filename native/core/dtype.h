// Element types that tensors on a device have.
#pragma once

#include <cstdint>
#include <iosfwd>

namespace repa {

/// f64 holds samplers' states and test references only; no model computes in it.
enum class DType : uint8_t { f32, bf16, f16, i32, u8, f64 };

constexpr int64_t dtypeBytes(DType dtype) {
  switch (dtype) {
    case DType::f64: return 8;
    case DType::f32:
    case DType::i32: return 4;
    case DType::bf16:
    case DType::f16: return 2;
    case DType::u8: return 1;
  }
  return 0;
}

constexpr const char* dtypeName(DType dtype) {
  switch (dtype) {
    case DType::f64: return "f64";
    case DType::f32: return "f32";
    case DType::bf16: return "bf16";
    case DType::f16: return "f16";
    case DType::i32: return "i32";
    case DType::u8: return "u8";
  }
  return "?";
}

/// `purpose`: an operation's name, for the Error(dtype) where there is no dtype of that name.
DType dtypeOf(const char* purpose, const std::string& name);

}  // namespace repa
