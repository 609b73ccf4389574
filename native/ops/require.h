// What every op checks before it enqueues anything. Messages name the op, the argument, what was expected and what came.
#pragma once

#include <string>

#include "core/cpu_device.h"
#include "core/tensor.h"

namespace repa::ops {

[[noreturn]] inline void fail(ErrorCode code, const char* op, const std::string& what) { throw Error(code, std::string(op) + ": " + what); }

inline void require(bool condition, const char* op, const std::string& what) {
  if (!condition) fail(ErrorCode::invalidArgument, op, what);
}

inline void requireDType(const char* op, const char* name, const Tensor& tensor, DType dtype) {
  if (tensor.dtype() != dtype)
    fail(ErrorCode::dtype, op, std::string(name) + " is " + dtypeName(tensor.dtype()) + "; expected " + dtypeName(dtype) + ".");
}

inline void requireShape(const char* op, const char* name, const Tensor& tensor, const Shape& shape, DType dtype = DType::f32) {
  requireDType(op, name, tensor, dtype);
  if (tensor.shape() != shape)
    fail(ErrorCode::shape, op, std::string(name) + " has shape " + tensor.shape().text() + "; expected " + shape.text() + ".");
}

/// `axes` describes the expected axes in the message: "[B, T, D]".
inline void requireRank(const char* op, const char* name, const Tensor& tensor, int rank, const char* axes, DType dtype = DType::f32) {
  requireDType(op, name, tensor, dtype);
  if (tensor.shape().rank() != rank)
    fail(ErrorCode::shape, op, std::string(name) + " has shape " + tensor.shape().text() + "; expected " + axes + ".");
}

/// Product of all axes but the last: how many rows [..., C] has, also where C is 0.
inline int64_t rowsOf(const Shape& shape) {
  int64_t rows = 1;
  for (int axis = 0; axis + 1 < shape.rank(); ++axis) rows *= shape[axis];
  return rows;
}

/// `axes` describes the expected axes in the message: "[..., D]".
inline void requireLastAxis(const char* op, const char* name, const Tensor& tensor, const char* axes) {
  requireDType(op, name, tensor, DType::f32);
  if (tensor.shape().rank() < 1)
    fail(ErrorCode::shape, op, std::string(name) + " has shape " + tensor.shape().text() + "; expected " + axes + ".");
}

/// The queue of the CPU, where `tensor` must live.
inline CpuDevice& cpuQueue(const char* op, const Tensor& tensor) {
  auto* device = dynamic_cast<CpuDevice*>(&tensor.device());
  if (!device) fail(ErrorCode::device, op, "has no kernel for the device " + tensor.device().name() + ".");
  return *device;
}

/// Scratch for one enqueued kernel. Letting go of it right after the enqueue is safe: memory is stream-ordered.
inline Tensor scratchFloats(CpuDevice& queue, int64_t floats, const char* op) {
  return Tensor::empty(queue, {floats > 0 ? floats : 1}, DType::f32, op);
}

}  // namespace repa::ops
