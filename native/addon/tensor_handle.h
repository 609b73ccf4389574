// TensorHandle: a Tensor as a JS object. Dropped by dispose(), or by the garbage collector as the safety net.
#pragma once

#include <napi.h>

#include "core/tensor.h"

namespace repa::addon {

class TensorHandle : public Napi::ObjectWrap<TensorHandle> {
 public:
  static void registerClass(Napi::Env env, Napi::Object exports);

  /// A new JS object that holds `tensor`.
  static Napi::Object wrap(Napi::Env env, Tensor tensor);
  /// The tensor in a JS value. Throws Error(invalidArgument) for anything else and Error(disposed) after dispose().
  static const Tensor& unwrap(Napi::Value value, const char* operation, const char* argument);

  /// Drops the tensor in a JS value; a second call does nothing.
  static void dispose(Napi::Value value, const char* operation);

  explicit TensorHandle(const Napi::CallbackInfo& info);
  ~TensorHandle() override;

 private:
  static TensorHandle* find(Napi::Value value, const char* operation, const char* argument);
  void drop();

  Tensor tensor_;
  int64_t weight_ = 0;  // bytes
};

}  // namespace repa::addon
