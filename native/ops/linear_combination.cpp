#include "ops/linear_combination.h"

#include "cpu/cast.h"
#include "cpu/linear_combination.h"
#include "cuda/cast.h"
#include "cuda/linear_combination.h"
#include "ops/require.h"

namespace repa::ops {

Tensor linearCombination(const std::vector<double>& coefficients, const std::vector<Tensor>& values) {
  const char* op = "linearCombination";
  require(!values.empty() && values.size() <= static_cast<size_t>(cpu::kMaxLinearCombinationTerms) && values.size() == coefficients.size(), op,
          std::to_string(values.size()) + " values with " + std::to_string(coefficients.size()) + " coefficients; expected 1 to " +
              std::to_string(cpu::kMaxLinearCombinationTerms) + " of each.");
  cpu::LinearCombinationArgs args{};
  for (size_t i = 0; i < values.size(); ++i) {
    const bool isDouble = values[i].dtype() == DType::f64;
    requireShape(op, "values", values[i], values[0].shape(), isDouble ? DType::f64 : DType::f32);
    args.terms[i] = {.values = values[i].data(), .isDouble = isDouble, .coefficient = coefficients[i]};
  }
  const Tensor out = Tensor::empty(values[0].device(), values[0].shape(), DType::f64, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(out)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::linearCombination(stream, coefficients, values, out); });
      return out;
    }
  args.termCount = static_cast<int>(values.size());
  args.out = out.f64();
  args.size = out.elements();
  cpuQueue(op, out).enqueue(op, [args](ThreadPool& pool) { cpu::linearCombinationKernels().linearCombination(pool, args); });
  return out;
}

Tensor cast(const Tensor& x, const std::string& dtype) {
  const char* op = "cast";
  const DType to = dtypeOf(op, dtype);
  const cpu::CastKernels& kernels = cpu::castKernels();
  void (*kernel)(ThreadPool&, const cpu::CastArgs&) = nullptr;
  if (to == DType::f32) {
    switch (x.dtype()) {
      case DType::bf16: kernel = kernels.bf16ToF32; break;
      case DType::f16: kernel = kernels.f16ToF32; break;
      case DType::f64: kernel = kernels.f64ToF32; break;
      case DType::u8: kernel = kernels.u8ToF32; break;
      case DType::i32: kernel = kernels.i32ToF32; break;
      case DType::f32: break;
    }
  } else if (x.dtype() == DType::f32) {
    kernel = to == DType::bf16 ? kernels.f32ToBf16 : to == DType::f16 ? kernels.f32ToF16 : to == DType::f64 ? kernels.f32ToF64 : nullptr;
  }
  if (!kernel) fail(ErrorCode::dtype, op, std::string("there is no conversion from ") + dtypeName(x.dtype()) + " to " + dtypeName(to) + ".");
  const Tensor out = Tensor::empty(x.device(), x.shape(), to, op);
  if constexpr (kBuiltWithCuda)
    if (CudaDevice* cuda = cudaQueue(x)) {
      cuda->enqueue(op, [&](cudaStream_t stream) { cuda::cast(stream, x, out); });
      return out;
    }
  const cpu::CastArgs args{.input = x.data(), .output = out.data(), .count = x.elements()};
  cpuQueue(op, x).enqueue(op, [args, kernel](ThreadPool& pool) { kernel(pool, args); });
  return out;
}

}  // namespace repa::ops
