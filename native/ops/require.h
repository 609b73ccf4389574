// What every op checks before it enqueues anything. Messages name the op, the argument, what was expected and what came.
#pragma once

#include <string>

#include "core/cpu_device.h"
#include "core/error.h"
#include "core/tensor.h"
#include "ops/cuda_queue.h"

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

/// The dtype in which a model computes: that of its activations and of the weights' copy that its products read. The residual
/// stream, the modulation, statistics, losses and gradients of parameters are f32 beside any of them. A CPU computes in f32.
inline bool computesIn(const Device& device, DType dtype) {
  const bool narrow = dtype == DType::bf16 || dtype == DType::f16;
  return dtype == DType::f32 || (narrow && !dynamic_cast<const CpuDevice*>(&device));
}

inline const char* computeDTypes(const Device& device) { return dynamic_cast<const CpuDevice*>(&device) ? "f32" : "f32, bf16 or f16"; }

/// `tensor` is an activation, or a weight that products read.
inline void requireCompute(const char* op, const char* name, const Tensor& tensor) {
  if (!computesIn(tensor.device(), tensor.dtype()))
    fail(ErrorCode::dtype, op, std::string(name) + " is " + dtypeName(tensor.dtype()) + "; expected " + computeDTypes(tensor.device()) + ".");
}

/// The dtype, by its name, in which an op is asked to give its result.
inline DType computeDType(const char* op, const Device& device, const std::string& name) {
  const DType dtype = dtypeOf(op, name);
  if (!computesIn(device, dtype)) fail(ErrorCode::dtype, op, "the result cannot be " + name + " on " + device.name() + "; expected " + computeDTypes(device) + ".");
  return dtype;
}

/// `axes` describes the expected axes in the message: "[B, T, D]".
inline void requireRank(const char* op, const char* name, const Tensor& tensor, int rank, const char* axes, DType dtype = DType::f32) {
  requireDType(op, name, tensor, dtype);
  if (tensor.shape().rank() != rank)
    fail(ErrorCode::shape, op, std::string(name) + " has shape " + tensor.shape().text() + "; expected " + axes + ".");
}

/// `axes` describes the expected axes in the message: "[..., D]".
inline void requireLastAxis(const char* op, const char* name, const Tensor& tensor, const char* axes, DType dtype = DType::f32) {
  requireDType(op, name, tensor, dtype);
  if (tensor.shape().rank() < 1)
    fail(ErrorCode::shape, op, std::string(name) + " has shape " + tensor.shape().text() + "; expected " + axes + ".");
}

/// What a GPU's kernel indexes in 32 bits; `what` names it.
inline void requireIndexable(const char* op, const char* what, int64_t elements) {
  require(elements < int64_t{1} << 31, op, std::string(what) + " has " + std::to_string(elements) + " elements; a GPU takes fewer than 2^31.");
}

/// The queue of the CPU, where `tensor` must live.
inline CpuDevice& cpuQueue(const char* op, const Tensor& tensor) {
  auto* device = dynamic_cast<CpuDevice*>(&tensor.device());
  if (!device) fail(ErrorCode::device, op, "has no kernel for the device " + tensor.device().name() + ".");
  return *device;
}

/// Scratch for one enqueued kernel. Letting go of it right after the enqueue is safe: memory is stream-ordered.
inline Tensor scratchFloats(Device& queue, int64_t floats, const char* op) {
  return Tensor::empty(queue, {floats > 0 ? floats : 1}, DType::f32, op);
}

}  // namespace repa::ops
