#include "addon/tensor_handle.h"

#include "addon/exports.h"

namespace repa::addon {

namespace {

// Marks our objects, so that a foreign object passed as a tensor is an error and never a crash.
constexpr napi_type_tag kTensorTag = {0x9c1f0d6a7be24c53ULL, 0xb1d5e8f2a4376c90ULL};

/// Bytes of this thread's tensors: alive, and as the garbage collector knows them. It is told of them for the sake of those that nobody
/// disposes. A report of growth may make it run, for milliseconds, and a training step takes and disposes hundreds of gigabytes: reported
/// one by one they cost the host more than all the rest of the step. So the collector knows the most that was ever alive, which a step that
/// repeats itself does not pass.
thread_local int64_t liveBytes = 0;
thread_local int64_t reportedBytes = 0;

void add(Napi::Env env, int64_t bytes) {
  liveBytes += bytes;
  if (liveBytes <= reportedBytes) return;
  Napi::MemoryManagement::AdjustExternalMemory(env, liveBytes - reportedBytes);
  reportedBytes = liveBytes;
}

/// What the collector itself found no longer counts, so that as much garbage makes it run again.
void subtractCollected(Napi::Env env, int64_t bytes) {
  liveBytes -= bytes;
  Napi::MemoryManagement::AdjustExternalMemory(env, -bytes);
  reportedBytes -= bytes;
}

}  // namespace

void TensorHandle::registerClass(Napi::Env env, Napi::Object) {
  Napi::Function constructor = DefineClass(env, "TensorHandle", {});
  environment(env).tensorConstructor = Napi::Persistent(constructor);
}

TensorHandle::TensorHandle(const Napi::CallbackInfo& info) : Napi::ObjectWrap<TensorHandle>(info) {
  info.This().As<Napi::Object>().TypeTag(&kTensorTag);
}

TensorHandle::~TensorHandle() {
  if (tensor_.defined()) subtractCollected(Env(), weight_);
}

Napi::Object TensorHandle::wrap(Napi::Env env, Tensor tensor) {
  Napi::Object object = environment(env).tensorConstructor.New({});
  TensorHandle* handle = Unwrap(object);
  // Views weigh what they show; the collector's estimate need not be exact, only large where memory is large.
  handle->weight_ = tensor.bytes();
  handle->tensor_ = std::move(tensor);
  add(env, handle->weight_);
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
  liveBytes -= weight_;
}

}  // namespace repa::addon
