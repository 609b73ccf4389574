// Makes a JS function of a C++ op from its signature: each parameter is read by its type, the result becomes a handle, an
// array of handles (null where undefined) or undefined. The names in the table serve the error messages.
#pragma once

#include <array>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "addon/exports.h"
#include "core/device.h"
#include "core/error.h"

namespace repa::addon {

template <class Parameter>
auto readArgument(const Arguments& arguments, size_t index) {
  using Type = std::remove_cvref_t<Parameter>;
  const char* name = arguments.name(index);
  if constexpr (std::is_same_v<Type, Tensor>) return arguments.tensor(index, name);
  else if constexpr (std::is_same_v<Type, std::optional<Tensor>>) return arguments.absent(index) ? std::nullopt : std::optional<Tensor>(arguments.tensor(index, name));
  else if constexpr (std::is_same_v<Type, double>) return arguments.number(index, name);
  else if constexpr (std::is_same_v<Type, int64_t>) return arguments.integer(index, name);
  else if constexpr (std::is_same_v<Type, uint64_t>) return arguments.counter(index, name);
  else if constexpr (std::is_same_v<Type, bool>) return arguments.boolean(index, name);
  else if constexpr (std::is_same_v<Type, std::string>) return arguments.text(index, name);
  else if constexpr (std::is_same_v<Type, std::vector<double>>) return arguments.numbers(index, name);
  else if constexpr (std::is_same_v<Type, std::vector<Tensor>>) return arguments.tensors(index, name);
  else static_assert(!sizeof(Type), "an op has a parameter of a type that readArgument does not know");
}

/// Throws where a call's tensors live on different devices; names the first two that do.
class SameDevice {
 public:
  explicit SameDevice(const Arguments& arguments) : arguments_(arguments) {}

  template <class Value>
  void check(const Value& value, size_t index) {
    if constexpr (std::is_same_v<Value, Tensor>) {
      if (!first_) {
        first_ = &value.device();
        firstIndex_ = index;
      } else if (first_ != &value.device()) {
        throw Error(ErrorCode::device, std::string(arguments_.operation()) + ": " + arguments_.name(firstIndex_) + " is on " + first_->name() + " and " +
                                           arguments_.name(index) + " on " + value.device().name() + "; an operation's tensors must be on one device.");
      }
    } else if constexpr (std::is_same_v<Value, std::optional<Tensor>>) {
      if (value) check(*value, index);
    } else if constexpr (std::is_same_v<Value, std::vector<Tensor>>) {
      for (const Tensor& tensor : value) check(tensor, index);
    }
  }

 private:
  const Arguments& arguments_;
  const Device* first_ = nullptr;
  size_t firstIndex_ = 0;
};

template <class Result, class... Parameters, size_t... index>
Napi::Value callOp(Result (*op)(Parameters...), const Arguments& arguments, std::index_sequence<index...>) {
  // Braces: arguments are read left to right, so that the first wrong one is the one named.
  std::tuple<decltype(readArgument<Parameters>(arguments, index))...> values{readArgument<Parameters>(arguments, index)...};
  SameDevice device(arguments);
  (device.check(std::get<index>(values), index), ...);
  if constexpr (std::is_void_v<Result>) {
    std::apply(op, values);
    return arguments.nothing();
  } else {
    return arguments.result(std::apply(op, values));
  }
}

template <class Result, class... Parameters>
Napi::Value callOp(Result (*op)(Parameters...), const Arguments& arguments) {
  return callOp(op, arguments, std::index_sequence_for<Parameters...>());
}

/// An Export's `call` for an op.
template <auto op>
Napi::Value bind(const Arguments& arguments) {
  return callOp(op, arguments);
}

}  // namespace repa::addon
