// Stands before the CUDA toolkit's header of this name where kernels are compiled for the CPU.
#pragma once

#include <cmath>
#include <cstring>
#include <tuple>
#include <utility>

#include "simt/block.h"
#include "simt/device_functions.h"
#include "simt/runtime_api.h"

// The tag names the kernel in the symbol table, where the shim finds what there is to launch (simt/symbols.h).
#define __global__ __attribute__((abi_tag("simt_kernel")))
#define __device__
#define __host__
#define __constant__ static
#define __grid_constant__
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __launch_bounds__(...)
#define __cluster_dims__(...)
#define __align__(n) __attribute__((aligned(n)))
// One copy for the block that runs. The tag names the variable in the symbol table, where the shim finds it (simt/symbols.h).
#define __shared__ __attribute__((abi_tag("simt_shared"))) static

#define threadIdx (::repa::simt::thread().index)
#define blockIdx (::repa::simt::thread().block->index)
using repa::simt::blockDim;
using repa::simt::gridDim;
constexpr int warpSize = 32;

namespace repa::simt {

/// A kernel with its arguments, which the shim destroys.
struct BoundKernel {
  const void* kernel;
  void (*invoke)(const void* arguments);
  void (*destroy)(const void* arguments);
  const void* arguments;
};
cudaError_t enqueueLaunch(const cudaLaunchConfig_t& config, const BoundKernel& kernel);

template <class... Parameters>
struct Arguments {
  void (*kernel)(Parameters...);
  std::tuple<std::decay_t<Parameters>...> values;

  static void invoke(const void* self) {
    const auto& arguments = *static_cast<const Arguments*>(self);
    std::apply(arguments.kernel, arguments.values);
  }
  static void destroy(const void* self) { delete static_cast<const Arguments*>(self); }
};

}  // namespace repa::simt

template <class... Parameters, class... Given>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...), Given&&... given) {
  using Arguments = repa::simt::Arguments<Parameters...>;
  const auto* arguments = new Arguments{kernel, {static_cast<Parameters>(std::forward<Given>(given))...}};
  return repa::simt::enqueueLaunch(*config, {reinterpret_cast<const void*>(kernel), &Arguments::invoke, &Arguments::destroy, arguments});
}
