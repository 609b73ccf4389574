#include "ops/elementwise.h"

#include <cstring>

#include "cpu/elementwise.h"
#include "cuda/elementwise.h"
#include "ops/require.h"

namespace repa::ops {

Tensor add(const Tensor& a, const Tensor& b) {
  const char* op = "add";
  requireCompute(op, "a", a);
  requireShape(op, "b", b, a.shape(), a.dtype());
  const Tensor out = Tensor::empty(a.device(), a.shape(), a.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(a)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::add(stream, a, b, out); });
      return out;
    }
  const cpu::AddArgs args{.count = a.elements(), .a = a.f32(), .b = b.f32(), .out = out.f32()};
  cpuQueue(op, a).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().add(pool, args); });
  return out;
}

Tensor scale(const Tensor& x, double factor) {
  const char* op = "scale";
  requireCompute(op, "x", x);
  const Tensor out = Tensor::empty(x.device(), x.shape(), x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::scale(stream, x, static_cast<float>(factor), out); });
      return out;
    }
  const cpu::ScaleArgs args{.count = x.elements(), .factor = static_cast<float>(factor), .x = x.f32(), .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().scale(pool, args); });
  return out;
}

Tensor clamp(const Tensor& x, double low, double high) {
  const char* op = "clamp";
  requireCompute(op, "x", x);
  require(low <= high, op, "the bounds are " + std::to_string(low) + " and " + std::to_string(high) + "; expected the lower one first.");
  const Tensor out = Tensor::empty(x.device(), x.shape(), x.dtype(), op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::clamp(stream, x, static_cast<float>(low), static_cast<float>(high), out); });
      return out;
    }
  const cpu::ClampArgs args{.count = x.elements(), .low = static_cast<float>(low), .high = static_cast<float>(high), .x = x.f32(), .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().clamp(pool, args); });
  return out;
}

Tensor softClamp(const Tensor& x, double limit) {
  const char* op = "softClamp";
  requireDType(op, "x", x, DType::f32);
  require(limit > 0, op, "the limit is " + std::to_string(limit) + "; expected a number above 0.");
  const Tensor out = Tensor::empty(x.device(), x.shape(), DType::f32, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::softClamp(stream, x, static_cast<float>(limit), out); });
      return out;
    }
  const cpu::SoftClampArgs args{.count = x.elements(), .limit = static_cast<float>(limit), .x = x.f32(), .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().softClamp(pool, args); });
  return out;
}

void accumulate(const Tensor& sum, const Tensor& x) {
  const char* op = "accumulate";
  requireCompute(op, "x", x);
  requireShape(op, "sum", sum, x.shape(), x.dtype());
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) return cuda->enqueue(op, [&](cudaStream_t stream) { cuda::accumulate(stream, sum, x); });
  const cpu::AccumulateArgs args{.count = x.elements(), .x = x.f32(), .sum = sum.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().accumulate(pool, args); });
}

void fill(const Tensor& out, double value) {
  const char* op = "fill";
  requireCompute(op, "out", out);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(out)) return cuda->enqueue(op, [&](cudaStream_t stream) { cuda::fill(stream, out, static_cast<float>(value)); });
  const cpu::FillArgs args{.count = out.elements(), .value = static_cast<float>(value), .out = out.f32()};
  cpuQueue(op, out).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().fill(pool, args); });
}

void copy(const Tensor& out, const Tensor& x) {
  const char* op = "copy";
  requireShape(op, "out", out, x.shape(), x.dtype());
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) return cuda->enqueue(op, [&](cudaStream_t stream) { cuda::copy(stream, out, x); });
  if (x.dtype() != DType::f32)
    return cpuQueue(op, x).enqueue(op, [to = out.data(), from = x.data(), bytes = static_cast<size_t>(x.bytes())](ThreadPool&) { std::memcpy(to, from, bytes); });
  const cpu::CopyArgs args{.count = x.elements(), .x = x.f32(), .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().copy(pool, args); });
}

}  // namespace repa::ops
