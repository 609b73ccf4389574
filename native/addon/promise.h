// A JS promise that the device's thread settles.
#pragma once

#include <napi.h>

#include <functional>
#include <string>

namespace repa::addon {

/// Makes the promise's value on the JS thread. What it throws rejects the promise, a repa::Error with its code.
using MakeValue = std::function<Napi::Value(Napi::Env)>;

/// Starts the operation of a name and returns a promise. `start` gets a callback to call exactly once, from any thread, with the device's
/// failure (empty: success), which rejects it with ERR_DEVICE_FAILED; what it throws instead is the caller's. The event loop stays alive
/// until then; a JS environment that ends before is left alone.
Napi::Value promise(Napi::Env env, const char* operation, std::function<void(std::function<void(const std::string&)> done)> start, MakeValue makeValue);

}  // namespace repa::addon
