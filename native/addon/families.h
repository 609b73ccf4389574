// The files of this folder that add exports, one function each.
#pragma once

#include <napi.h>

namespace repa::addon {

void addDeviceExports(Napi::Env env, Napi::Object exports);
void addTensorExports(Napi::Env env, Napi::Object exports);
void addOpExports(Napi::Env env, Napi::Object exports);
void addCommunicatorExports(Napi::Env env, Napi::Object exports);

}  // namespace repa::addon
