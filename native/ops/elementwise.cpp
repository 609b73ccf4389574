#include "ops/elementwise.h"

#include "cpu/elementwise.h"
#include "ops/require.h"

namespace repa::ops {

Tensor add(const Tensor& a, const Tensor& b) {
  const char* op = "add";
  requireDType(op, "a", a, DType::f32);
  requireShape(op, "b", b, a.shape());
  CpuDevice& queue = cpuQueue(op, a);
  const Tensor out = Tensor::empty(queue, a.shape(), DType::f32, op);
  const cpu::AddArgs args{.count = a.elements(), .a = a.f32(), .b = b.f32(), .out = out.f32()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().add(pool, args); });
  return out;
}

Tensor scale(const Tensor& x, double factor) {
  const char* op = "scale";
  requireDType(op, "x", x, DType::f32);
  CpuDevice& queue = cpuQueue(op, x);
  const Tensor out = Tensor::empty(queue, x.shape(), DType::f32, op);
  const cpu::ScaleArgs args{.count = x.elements(), .factor = static_cast<float>(factor), .x = x.f32(), .out = out.f32()};
  queue.enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().scale(pool, args); });
  return out;
}

void accumulate(const Tensor& sum, const Tensor& x) {
  const char* op = "accumulate";
  requireDType(op, "x", x, DType::f32);
  requireShape(op, "sum", sum, x.shape());
  const cpu::AccumulateArgs args{.count = x.elements(), .x = x.f32(), .sum = sum.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().accumulate(pool, args); });
}

void fill(const Tensor& out, double value) {
  const char* op = "fill";
  requireDType(op, "out", out, DType::f32);
  const cpu::FillArgs args{.count = out.elements(), .value = static_cast<float>(value), .out = out.f32()};
  cpuQueue(op, out).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().fill(pool, args); });
}

void copy(const Tensor& out, const Tensor& x) {
  const char* op = "copy";
  requireDType(op, "x", x, DType::f32);
  requireShape(op, "out", out, x.shape());
  const cpu::CopyArgs args{.count = x.elements(), .x = x.f32(), .out = out.f32()};
  cpuQueue(op, x).enqueue(op, [args](ThreadPool& pool) { cpu::elementwiseKernels().copy(pool, args); });
}

}  // namespace repa::ops
