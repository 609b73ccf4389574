#include "ops/activation.h"

#include "cpu/activation.h"
#include "cpu/swiglu.h"
#include "cuda/activation.h"
#include "cuda/swiglu.h"
#include "ops/require.h"

namespace repa::ops {

namespace {

auto forwardKernel(Activation function) {
  const cpu::ActivationKernels& kernels = cpu::activationKernels();
  switch (function) {
    case Activation::geluTanh: return kernels.geluTanh;
    case Activation::geluErf: return kernels.geluErf;
    case Activation::quickGelu: return kernels.quickGelu;
    default: return kernels.silu;
  }
}

auto backwardKernel(Activation function) {
  const cpu::ActivationKernels& kernels = cpu::activationKernels();
  switch (function) {
    case Activation::geluTanh: return kernels.geluTanhBackward;
    case Activation::geluErf: return kernels.geluErfBackward;
    case Activation::quickGelu: return kernels.quickGeluBackward;
    default: return kernels.siluBackward;
  }
}

}  // namespace

Activation activationOf(const char* op, const std::string& name) {
  if (name == "none") return Activation::none;
  if (name == "silu") return Activation::silu;
  if (name == "gelu-tanh") return Activation::geluTanh;
  if (name == "gelu-erf") return Activation::geluErf;
  if (name == "quick-gelu") return Activation::quickGelu;
  throw Error(ErrorCode::invalidArgument, std::string(op) + ": \"" + name + "\" is not an activation: expected none, silu, gelu-tanh, gelu-erf or quick-gelu.");
}

Tensor activation(const Tensor& x, const std::string& kind) {
  const char* op = "activation";
  requireCompute(op, "x", x);
  const Activation function = activationOf(op, kind);
  require(function != Activation::none, op, "the kind is none; expected silu, gelu-tanh, gelu-erf or quick-gelu.");
  const Tensor out = Tensor::empty(x.device(), x.shape(), x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::activation(stream, x, function, out); });
      return out;
    }
  const cpu::ActivationArgs args{.count = x.elements(), .x = x.f32(), .out = out.f32()};
  const auto kernel = forwardKernel(function);
  cpuQueue(op, x).enqueue(op, [args, kernel](ThreadPool& pool) { kernel(pool, args); });
  return out;
}

Tensor activationBackward(const Tensor& dOut, const Tensor& x, const std::string& kind) {
  const char* op = "activationBackward";
  requireCompute(op, "x", x);
  requireShape(op, "dOut", dOut, x.shape(), x.dtype());
  const Activation function = activationOf(op, kind);
  require(function != Activation::none, op, "the kind is none; expected silu, gelu-tanh, gelu-erf or quick-gelu.");
  const Tensor dX = Tensor::empty(x.device(), x.shape(), x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::activationBackward(stream, dOut, x, function, dX); });
      return dX;
    }
  const cpu::ActivationBackwardArgs args{.count = x.elements(), .x = x.f32(), .dOut = dOut.f32(), .dX = dX.f32()};
  const auto kernel = backwardKernel(function);
  cpuQueue(op, x).enqueue(op, [args, kernel](ThreadPool& pool) { kernel(pool, args); });
  return dX;
}

Tensor swiGLU(const Tensor& x) {
  const char* op = "swiGLU";
  requireCompute(op, "x", x);
  requireLastAxis(op, "x", x, "[..., 2 h]", x.dtype());
  const int64_t width = x.size(-1);
  require(width % 2 == 0 && width > 0, op, "x has shape " + x.shape().text() + "; its last axis must be even.");
  Shape shape;
  for (int axis = 0; axis + 1 < x.shape().rank(); ++axis) shape.append(x.size(axis));
  shape.append(width / 2);
  const Tensor out = Tensor::empty(x.device(), shape, x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::swiGLU(stream, x, out); });
      return out;
    }
  const cpu::SwigluForwardArgs args{.in = x.f32(), .out = out.f32(), .rows = x.elements() / width, .hidden = width / 2};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::swigluKernels().forward(pool, args); });
  return out;
}

Tensor swiGLUBackward(const Tensor& dOut, const Tensor& x) {
  const char* op = "swiGLUBackward";
  requireCompute(op, "x", x);
  requireLastAxis(op, "x", x, "[..., 2 h]", x.dtype());
  requireLastAxis(op, "dOut", dOut, "[..., h]", x.dtype());
  const int64_t width = x.size(-1);
  require(width > 0 && dOut.elements() * 2 == x.elements() && dOut.size(-1) * 2 == width, op,
          "dOut has shape " + dOut.shape().text() + ", which is not half of x " + x.shape().text() + ".");
  const Tensor dX = Tensor::empty(x.device(), x.shape(), x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::swiGLUBackward(stream, dOut, x, dX); });
      return dX;
    }
  const cpu::SwigluBackwardArgs args{.in = x.f32(), .dOut = dOut.f32(), .dIn = dX.f32(), .rows = x.elements() / width, .hidden = width / 2};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::swigluKernels().backward(pool, args); });
  return dX;
}

}  // namespace repa::ops
