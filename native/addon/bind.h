// Makes a JS function of a C++ op from its signature: each parameter is read by its type, the result becomes a handle, an
// array of handles (null where undefined) or undefined. The names in the table serve the error messages.
#pragma once

#include <array>
#include <optional>
#include <type_traits>
#include <utility>
#include <vector>

#include "addon/exports.h"

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

template <class Result, class... Parameters, size_t... index>
Napi::Value callOp(Result (*op)(Parameters...), const Arguments& arguments, std::index_sequence<index...>) {
  // Braces: arguments are read left to right, so that the first wrong one is the one named.
  std::tuple<decltype(readArgument<Parameters>(arguments, index))...> values{readArgument<Parameters>(arguments, index)...};
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
