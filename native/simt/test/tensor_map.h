// Tensor maps for the tests.
#pragma once

#include <cuda.h>
#include <cuda_runtime.h>

#include <vector>

#include "core/error.h"
#include "cuda/check.h"

namespace repa::cuda::test {

struct TensorShape {
  CUtensorMapDataType type = CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  int elementBytes = 2;
  std::vector<uint64_t> extents;  // the contiguous dimension first
  std::vector<uint64_t> strides = {};  // of the others, in bytes; without gaps where not given
  std::vector<uint32_t> box;
  CUtensorMapSwizzle swizzle = CU_TENSOR_MAP_SWIZZLE_NONE;
};

inline CUtensorMap tensorMap(void* base, const TensorShape& shape) {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found = cudaDriverEntryPointSymbolNotFound;
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found),
          "find cuTensorMapEncodeTiled");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  const size_t rank = shape.extents.size();
  std::vector<uint64_t> strides(rank);
  std::vector<uint32_t> elementStrides(rank, 1);
  uint64_t stride = shape.elementBytes;
  for (size_t d = 0; d + 1 < rank; ++d) strides[d] = shape.strides.empty() ? stride *= shape.extents[d] : shape.strides[d];
  static CUtensorMap map;  // GCC 12 may place the object that a function returns at less than its 64 bytes of alignment
  const CUresult result = encode(&map, shape.type, static_cast<uint32_t>(rank), base, shape.extents.data(), strides.data(),
                                 shape.box.data(), elementStrides.data(), CU_TENSOR_MAP_INTERLEAVE_NONE, shape.swizzle,
                                 CU_TENSOR_MAP_L2_PROMOTION_NONE, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS) throw Error(ErrorCode::failed, "cuTensorMapEncodeTiled failed with " + std::to_string(result) + ".");
  return map;
}

}  // namespace repa::cuda::test
