// How native functions become JS functions: each file of this folder has a table of Exports, and addon.cpp adds them all.
#pragma once

#include <napi.h>

#include <exception>

#include "addon/arguments.h"
#include "core/error.h"

namespace repa::addon {

/// One function of the addon. What it throws as repa::Error reaches JS as an Error with the same message and a `code`.
struct Export {
  const char* name;
  Napi::Value (*call)(const Arguments& arguments);
  /// For error messages; an op bound by its signature (addon/bind.h) reads its arguments under these names.
  ArgumentNames arguments = {};
};

void addExports(Napi::Env env, Napi::Object exports, const Export* table, size_t count);

template <size_t count>
void addExports(Napi::Env env, Napi::Object exports, const Export (&table)[count]) {
  addExports(env, exports, table, count);
}

/// A JS Error with the native error's code.
Napi::Error toJsError(Napi::Env env, ErrorCode code, const std::string& message);

/// The same of whatever native code has thrown in an operation; not of what JS has.
Napi::Error toJsError(Napi::Env env, const char* operation, const std::exception_ptr& thrown);

}  // namespace repa::addon
