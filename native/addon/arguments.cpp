#include "addon/arguments.h"

#include <charconv>
#include <cmath>
#include <string_view>

#include "core/cpu_device.h"
#include "cuda/cuda_device.h"

namespace repa::addon {

void Arguments::wrong(const char* name, const char* expected) const {
  throw Error(ErrorCode::invalidArgument, std::string(operation_) + ": " + name + " must be " + expected + ".");
}

double Arguments::number(size_t index, const char* name) const {
  if (!info_[index].IsNumber()) wrong(name, "a number");
  return info_[index].As<Napi::Number>().DoubleValue();
}

int64_t Arguments::integer(size_t index, const char* name) const {
  const double value = number(index, name);
  if (value != std::floor(value) || std::abs(value) > 9007199254740991.0) wrong(name, "a whole number");
  return static_cast<int64_t>(value);
}

uint64_t Arguments::counter(size_t index, const char* name) const {
  if (info_[index].IsBigInt()) {
    bool lossless = false;
    const uint64_t value = info_[index].As<Napi::BigInt>().Uint64Value(&lossless);
    if (!lossless) wrong(name, "a BigInt of at most 64 bits");
    return value;
  }
  const int64_t value = integer(index, name);
  if (value < 0) wrong(name, "a whole number that is not negative");
  return static_cast<uint64_t>(value);
}

bool Arguments::boolean(size_t index, const char* name) const {
  if (!info_[index].IsBoolean()) wrong(name, "true or false");
  return info_[index].As<Napi::Boolean>().Value();
}

std::string Arguments::text(size_t index, const char* name) const {
  if (!info_[index].IsString()) wrong(name, "a string");
  return info_[index].As<Napi::String>().Utf8Value();
}

Shape Arguments::shape(size_t index, const char* name) const {
  const std::vector<double> sizes = numbers(index, name);
  Shape shape;
  if (sizes.size() > Shape::kMaxRank) wrong(name, "a list of at most six sizes");
  for (double size : sizes) {
    if (size != std::floor(size) || size < 0 || size > 9007199254740991.0) wrong(name, "a list of sizes");
    shape.append(static_cast<int64_t>(size));
  }
  shape.requireCountable(operation_);
  return shape;
}

std::vector<double> Arguments::numbers(size_t index, const char* name) const {
  if (!info_[index].IsArray()) wrong(name, "an array of numbers");
  const Napi::Array array = info_[index].As<Napi::Array>();
  std::vector<double> out;
  // The length is asked once, for a getter may change it, and memory grows with what is there: new Array(2 ** 32 - 1) ends at its first hole.
  for (uint32_t i = 0, length = array.Length(); i < length; ++i) {
    const Napi::Value element = array[i];
    if (!element.IsNumber()) wrong(name, "an array of numbers");
    out.push_back(element.As<Napi::Number>().DoubleValue());
  }
  return out;
}

std::vector<Tensor> Arguments::tensors(size_t index, const char* name) const {
  if (!info_[index].IsArray()) wrong(name, "an array of tensors");
  const Napi::Array array = info_[index].As<Napi::Array>();
  std::vector<Tensor> out;
  for (uint32_t i = 0, length = array.Length(); i < length; ++i) out.push_back(tensorOf(array[i], operation_, name));
  return out;
}

Device& Arguments::device(size_t index, const char* name) const {
  const std::string device = text(index, name);
  if (device == "cpu") return CpuDevice::instance();
  constexpr std::string_view kCuda = "cuda:";
  int ordinal = 0;
  const char* digits = device.c_str() + kCuda.size();
  const char* end = device.c_str() + device.size();
  const bool isOrdinal = device.starts_with(kCuda) && digits != end && [&] {
    const std::from_chars_result read = std::from_chars(digits, end, ordinal);
    return read.ec == std::errc() && read.ptr == end && ordinal >= 0;
  }();
  if (!isOrdinal)
    throw Error(ErrorCode::device, std::string(operation_) + ": \"" + device + "\" is not a device: expected cpu or cuda:N.");
  if constexpr (kBuiltWithCuda) {
    try {
      return CudaDevice::instance(ordinal);
    } catch (const Error& error) {
      throw Error(error.code(), std::string(operation_) + ": " + error.what());
    }
  } else {
    throw Error(ErrorCode::device, std::string(operation_) + ": there is no " + device + " here: " + cudaStatus().reason + ".");
  }
}

}  // namespace repa::addon
