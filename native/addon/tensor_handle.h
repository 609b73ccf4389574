// A tensor as JS holds it: an External. Given back by dispose(), or by the garbage collector as the safety net.
//
// The External's value is no address but a number: of a place in this thread's table of tensors, and of how many the place has held. So
// what another addon made is told from a tensor without being looked into, and what was disposed from what has taken its place. An object of
// a class that wraps an address costs several times as much: in being made, in being told from others, and in the collector's hands, which
// has to finalize every one; of a tensor that was disposed it finds nothing to finalize.
#pragma once

#include <napi.h>

#include "core/error.h"
#include "core/tensor.h"

namespace repa::addon {

/// A new handle of `tensor`.
Napi::Value tensorHandle(Napi::Env env, Tensor tensor);

/// The tensor of a handle; stays where it is until that is disposed. Throws Error(invalidArgument) for anything else and Error(disposed)
/// after disposeTensor().
const Tensor& tensorOf(Napi::Value handle, const char* operation, const char* argument);

/// Gives a handle's tensor back; a second call does nothing. Throws Error(invalidArgument) for anything else.
void disposeTensor(Napi::Value handle, const char* operation);

}  // namespace repa::addon
