#include "addon/tensor_handle.h"

#include "addon/exports.h"

namespace repa::addon {

namespace {

// Marks our objects, so that a foreign object passed as a tensor is an error and never a crash.
constexpr napi_type_tag kTensorTag = {0x9c1f0d6a7be24c53ULL, 0xb1d5e8f2a4376c90ULL};

}  // namespace

void TensorHandle::registerClass(Napi::Env env, Napi::Object) {
  Napi::Function constructor = DefineClass(env, "TensorHandle", {});
  environment(env).tensorConstructor = Napi::Persistent(constructor);
}

TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TensorHandle>(info) {
  info.This().As<Napi::Object>().TypeTag(&kTensorTag);
}

TensorHandle::~TensorHandle() { drop(); }

Napi::Object TensorHandle::wrap(Napi::Env env, Tensor tensor) {
  Napi::Object object = environment(env).tensorConstructor.New({});
  TensorHandle* handle = Unwrap(object);
  // Views weigh what they show; the collector's estimate need not be exact, only large where memory is large.
  handle->weight_ = tensor.bytes();
  handle->tensor_ = std::move(tensor);
  Napi::MemoryManagement::AdjustExternalMemory(env, handle->weight_);
  return object;
}

void TensorHandle::dispose(Napi::Value value, const char* operation) { find(value, operation, "tensor")->drop(); }

TensorHandle* TensorHandle::find(Napi::Value value, const char* operation, const char* argument) {
  if (!value.IsObject() || !value.As<Napi::Object>().CheckTypeTag(&kTensorTag))
    throw Error(ErrorCode::invalidArgument, std::string(operation) + ": " + argument + " is not a tensor.");
  return Unwrap(value.As<Napi::Object>());
}

const Tensor& TensorHandle::unwrap(Napi::Value value, const char* operation, const char* argument) {
  const TensorHandle* handle = find(value, operation, argument);
  if (!handle->tensor_.defined())
    throw Error(ErrorCode::disposed, std::string(operation) + ": " + argument + " was disposed; use a tensor only before its dispose() or the end of its scope.");
  return handle->tensor_;
}

void TensorHandle::drop() {
  if (!tensor_.defined()) return;
  tensor_ = Tensor();
  Napi::MemoryManagement::AdjustExternalMemory(Env(), -weight_);
  weight_ = 0;
}

}  // namespace repa::addon
