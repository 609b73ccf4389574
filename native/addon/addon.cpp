// The module: every table of exports.
#include <napi.h>

#include <new>

#include "addon/exports.h"
#include "addon/families.h"

namespace repa::addon {

Napi::Error toJsError(Napi::Env env, ErrorCode code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, errorCodeName(code)));
  return error;
}

Napi::Error toJsError(Napi::Env env, const char* operation, const std::exception_ptr& thrown) {
  try {
    std::rethrow_exception(thrown);
  } catch (const Error& error) {
    return toJsError(env, error.code(), error.what());
  } catch (const std::bad_alloc&) {
    // Of the host's: a copy on its way to a device, a list. A device's own says how much was asked for.
    return toJsError(env, ErrorCode::outOfMemory, std::string(operation) + ": the process has no memory left for what the call needs.");
  } catch (const std::exception& error) {
    return toJsError(env, ErrorCode::failed, std::string(operation) + ": " + error.what());
  }
}

namespace {

Napi::Value callExport(const Napi::CallbackInfo& info) {
  const Export& entry = *static_cast<const Export*>(info.Data());
  try {
    return entry.call(Arguments(info, entry.name, entry.arguments));
  } catch (const Napi::Error&) {
    throw;
  } catch (...) {
    throw toJsError(info.Env(), entry.name, std::current_exception());
  }
}

Napi::Object initialise(Napi::Env env, Napi::Object exports) {
  addDeviceExports(env, exports);
  addTensorExports(env, exports);
  addOpExports(env, exports);
  addCommunicatorExports(env, exports);
  return exports;
}

}  // namespace

void addExports(Napi::Env env, Napi::Object exports, const Export* table, size_t count) {
  for (size_t i = 0; i < count; ++i)
    exports.Set(table[i].name, Napi::Function::New(env, callExport, table[i].name, const_cast<Export*>(&table[i])));
}

}  // namespace repa::addon

static Napi::Object initialiseModule(Napi::Env env, Napi::Object exports) { return repa::addon::initialise(env, exports); }

NODE_API_MODULE(repa_native, initialiseModule)
