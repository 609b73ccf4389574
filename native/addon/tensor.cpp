// Tensors: made from host memory, looked at, viewed, read back.
#include <cstring>

#include "addon/exports.h"
#include "addon/families.h"
#include "addon/promise.h"
#include "core/device.h"

namespace repa::addon {

namespace {

/// Which typed arrays hold a dtype's values; bf16 and f16 come as their bits.
const char* hostArrayOf(DType dtype) {
  switch (dtype) {
    case DType::f64: return "Float64Array";
    case DType::f32: return "Float32Array";
    case DType::i32: return "Int32Array";
    case DType::u8: return "Uint8Array";
    case DType::bf16:
    case DType::f16: return "Uint16Array";
  }
  return "?";
}

bool holds(napi_typedarray_type type, DType dtype) {
  switch (dtype) {
    case DType::f64: return type == napi_float64_array;
    case DType::f32: return type == napi_float32_array;
    case DType::i32: return type == napi_int32_array;
    case DType::u8: return type == napi_uint8_array || type == napi_uint8_clamped_array;
    case DType::bf16:
    case DType::f16: return type == napi_uint16_array;
  }
  return false;
}

/// The bytes of a typed array that holds values of `dtype`.
std::pair<const void*, int64_t> hostBytes(const Arguments& a, size_t index, const char* name, DType dtype) {
  const Napi::Value value = a.value(index);
  if (!value.IsTypedArray()) throw Error(ErrorCode::invalidArgument, std::string(a.operation()) + ": " + name + " must be a typed array.");
  // Not Napi::TypedArray's ArrayBuffer(), which a SharedArrayBuffer is not.
  napi_typedarray_type type = napi_uint8_array;
  void* data = nullptr;
  size_t elements = 0;
  NAPI_THROW_IF_FAILED(a.env(), napi_get_typedarray_info(a.env(), value, &type, &elements, &data, nullptr, nullptr));
  if (!holds(type, dtype))
    throw Error(ErrorCode::dtype, std::string(a.operation()) + ": " + name + " must be a " + hostArrayOf(dtype) + ", for the tensor is " + dtypeName(dtype) + ".");
  return {data, static_cast<int64_t>(elements) * dtypeBytes(dtype)};
}

void requireSize(const Arguments& a, int64_t bytes, const Shape& shape, DType dtype) {
  const int64_t expected = shape.elements() * dtypeBytes(dtype);
  if (bytes != expected)
    throw Error(ErrorCode::shape, std::string(a.operation()) + ": " + std::to_string(bytes) + " bytes were given where " + shape.text() + " of " +
                                      dtypeName(dtype) + " takes " + std::to_string(expected) + ".");
}

const Export kExports[] = {
    {"empty",
     [](const Arguments& a) -> Napi::Value {
       return a.result(Tensor::empty(a.device(2, "device"), a.shape(0, "shape"), dtypeOf(a.operation(), a.text(1, "dtype")), "empty"));
     }},
    {"fromHost",
     [](const Arguments& a) -> Napi::Value {
       const Shape shape = a.shape(1, "shape");
       const DType dtype = dtypeOf(a.operation(), a.text(2, "dtype"));
       const auto [data, bytes] = hostBytes(a, 0, "data", dtype);
       requireSize(a, bytes, shape, dtype);
       Tensor tensor = Tensor::empty(a.device(3, "device"), shape, dtype, "fromHost");
       tensor.device().upload(tensor.data(), data, bytes);
       return a.result(std::move(tensor));
     }},
    {"write",
     [](const Arguments& a) -> Napi::Value {
       const Tensor& tensor = a.tensor(0, "tensor");
       const auto [data, bytes] = hostBytes(a, 1, "data", tensor.dtype());
       requireSize(a, bytes, tensor.shape(), tensor.dtype());
       tensor.device().upload(tensor.data(), data, bytes);
       return a.nothing();
     }},
    {"read",
     [](const Arguments& a) -> Napi::Value {
       const Tensor tensor = a.tensor(0, "tensor");
       const size_t bytes = static_cast<size_t>(tensor.bytes());
       // The device writes to memory of its own, not into a JS buffer that an ending environment could free under it.
       std::shared_ptr<char> staged(static_cast<char*>(std::malloc(bytes ? bytes : 1)), std::free);
       if (!staged) throw Error(ErrorCode::outOfMemory, "read: no host memory for " + std::to_string(bytes) + " bytes.");
       return promise(
           a.env(), "read",
           [&](auto done) {
             tensor.device().download(staged.get(), tensor.data(), static_cast<int64_t>(bytes),
                                      [staged, done = std::move(done)](const std::string& failure) { done(failure); });
           },
           [staged, bytes](Napi::Env env) -> Napi::Value {
             auto* owner = new std::shared_ptr<char>(staged);
             return Napi::ArrayBuffer::New(
                 env, staged.get(), bytes, [](Napi::Env, void*, std::shared_ptr<char>* held) { delete held; }, owner);
           });
     }},
    {"dispose",
     [](const Arguments& a) -> Napi::Value {
       disposeTensor(a.value(0), a.operation());
       return a.nothing();
     }},
    {"shapeOf",
     [](const Arguments& a) -> Napi::Value {
       const Shape& shape = a.tensor(0, "tensor").shape();
       Napi::Array array = Napi::Array::New(a.env(), static_cast<size_t>(shape.rank()));
       for (int axis = 0; axis < shape.rank(); ++axis) array[static_cast<uint32_t>(axis)] = Napi::Number::New(a.env(), static_cast<double>(shape[axis]));
       return array;
     }},
    {"dtypeOf", [](const Arguments& a) -> Napi::Value { return Napi::String::New(a.env(), dtypeName(a.tensor(0, "tensor").dtype())); }},
    {"sharesStorage", [](const Arguments& a) -> Napi::Value { return Napi::Boolean::New(a.env(), a.tensor(0, "tensor").sharesStorage()); }},
    {"alias", [](const Arguments& a) -> Napi::Value { return a.result(Tensor(a.tensor(0, "tensor"))); }},
    {"reshape", [](const Arguments& a) -> Napi::Value { return a.result(a.tensor(0, "tensor").reshape(a.shape(1, "shape"))); }},
    {"view", [](const Arguments& a) -> Napi::Value { return a.result(a.tensor(0, "tensor").view(a.integer(1, "offset"), a.shape(2, "shape"))); }},
};

}  // namespace

void addTensorExports(Napi::Env env, Napi::Object exports) { addExports(env, exports, kExports); }

}  // namespace repa::addon
