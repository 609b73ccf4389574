// Unpacks a call's arguments. Each reader names the argument, so that an error says which one was wrong.
#pragma once

#include <napi.h>

#include <array>
#include <string>

#include "addon/tensor_handle.h"

namespace repa::addon {

using ArgumentNames = std::array<const char*, 17>;

class Arguments {
 public:
  Arguments(const Napi::CallbackInfo& info, const char* operation, const ArgumentNames& names)
      : info_(info), operation_(operation), names_(names) {}

  Napi::Env env() const { return info_.Env(); }
  const char* operation() const { return operation_; }
  const char* name(size_t index) const { return names_[index]; }
  Napi::Value value(size_t index) const { return info_[index]; }
  bool absent(size_t index) const { return info_[index].IsUndefined() || info_[index].IsNull(); }

  const Tensor& tensor(size_t index, const char* name) const { return tensorOf(info_[index], operation_, name); }
  double number(size_t index, const char* name) const;
  int64_t integer(size_t index, const char* name) const;
  /// A non-negative integer that JS gives as a number or a BigInt.
  uint64_t counter(size_t index, const char* name) const;
  bool boolean(size_t index, const char* name) const;
  std::string text(size_t index, const char* name) const;
  Shape shape(size_t index, const char* name) const;
  std::vector<double> numbers(size_t index, const char* name) const;
  std::vector<Tensor> tensors(size_t index, const char* name) const;
  Device& device(size_t index, const char* name) const;

  Napi::Value result(Tensor tensor) const { return tensorHandle(env(), std::move(tensor)); }
  /// A JS array; undefined tensors become null.
  template <size_t count>
  Napi::Value result(std::array<Tensor, count> tensors) const {
    Napi::Array array = Napi::Array::New(env(), count);
    for (size_t i = 0; i < count; ++i)
      array[static_cast<uint32_t>(i)] = tensors[i].defined() ? tensorHandle(env(), std::move(tensors[i])) : env().Null();
    return array;
  }
  Napi::Value nothing() const { return env().Undefined(); }

 private:
  [[noreturn]] void wrong(const char* name, const char* expected) const;

  const Napi::CallbackInfo& info_;
  const char* operation_;
  const ArgumentNames& names_;
};

}  // namespace repa::addon
