// A choice by measurement among kernels of which each computes the result: REPA_GEMM=auto, REPA_ATTENTION=auto.
//
// A measurement is never twice the same, and another kernel gives other bits. So every choice is made once and kept in a file, which later
// runs read: two runs give the same bits, as everywhere. Without `auto` nothing is measured.
#pragma once

#include <string>

#include "core/function_ref.h"
#include "cuda/handles.h"

namespace repa {
struct CudaDeviceInfo;
}

namespace repa::cuda {

/// What there is a choice for.
struct Choosing {
  std::string variable;  // the environment variable that is "auto"
  std::string what;      // what is computed: "a product"
  std::string key;       // the sizes and all else that the choice depends on besides the GPU, on one line
};

/// The choice, as the file of choices has it (kernel_choices_file.h) or, the first time, as `measure` finds it now, which may enqueue on
/// the stream and wait for it. The file is read once in the life of the process for each key.
///
/// Throws where the file cannot be read or written, where there is something to be measured while a step is captured, and what `measure`
/// throws.
std::string measuredChoice(cudaStream_t stream, const CudaDeviceInfo& device, const Choosing& choosing, FunctionRef<std::string()> measure);

/// Throws that the file holds a choice which is none of `whose`.
[[noreturn]] void refuseChoice(const std::string& choice, const std::string& whose);

}  // namespace repa::cuda
