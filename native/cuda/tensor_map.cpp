#include "cuda/tensor_map.h"

#include <cuda_runtime.h>

#include <string>

#include "core/error.h"
#include "cuda/check.h"

namespace repa::cuda {

namespace {

using Encode = decltype(&cuTensorMapEncodeTiled);

/// From the driver that is loaded already: libcuda is not linked, so that the addon loads where there is none.
Encode encodeFunction() {
  static const Encode encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    constexpr unsigned version = 12000;  // the first to have it
    check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, version, cudaEnableDefault, &found), "find cuTensorMapEncodeTiled");
    if (found != cudaDriverEntryPointSuccess || !function) throw Error(ErrorCode::device, "the driver has no cuTensorMapEncodeTiled; Hopper's kernels need one for CUDA 12.0 or later.");
    return reinterpret_cast<Encode>(function);
  }();
  return encode;
}

CUtensorMapDataType typeOf(DType dtype) {
  if (dtype == DType::f32) return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
  return dtype == DType::bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
}

}  // namespace

CUtensorMap matrixMap(DType dtype, const void* base, int64_t rows, int64_t columns, int64_t pitch, int boxRows, int boxColumns) {
  CUtensorMap map;
  const cuuint64_t extents[2] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t strides[1] = {static_cast<cuuint64_t>(pitch * dtypeBytes(dtype))};
  const cuuint32_t box[2] = {static_cast<cuuint32_t>(boxColumns), static_cast<cuuint32_t>(boxRows)};
  const cuuint32_t steps[2] = {1, 1};
  const CUresult result = encodeFunction()(
      &map, typeOf(dtype), 2, const_cast<void*>(base), extents, strides, box,
      steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw Error(ErrorCode::shape, "the driver makes no tensor map of a matrix of " + std::to_string(rows) + " x " + std::to_string(columns) + ", rows " +
                                       std::to_string(pitch) + " apart (error " + std::to_string(static_cast<int>(result)) + ").");
  return map;
}

CUtensorMap rowsOfSamplesMap(DType dtype, const void* base, int64_t batch, int64_t tokens, int64_t columns, int boxRows, int boxColumns) {
  CUtensorMap map;
  const auto rowBytes = static_cast<cuuint64_t>(columns * dtypeBytes(dtype));
  const cuuint64_t extents[3] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(tokens), static_cast<cuuint64_t>(batch)};
  const cuuint64_t strides[2] = {rowBytes, rowBytes * static_cast<cuuint64_t>(tokens)};
  const cuuint32_t box[3] = {static_cast<cuuint32_t>(boxColumns), static_cast<cuuint32_t>(boxRows), 1};
  const cuuint32_t steps[3] = {1, 1, 1};
  const int64_t lineBytes = boxColumns * dtypeBytes(dtype);
  const CUtensorMapSwizzle swizzle = lineBytes == 128  ? CU_TENSOR_MAP_SWIZZLE_128B
                                     : lineBytes == 64 ? CU_TENSOR_MAP_SWIZZLE_64B
                                                       : CU_TENSOR_MAP_SWIZZLE_NONE;
  const CUresult result = encodeFunction()(&map, typeOf(dtype), 3, const_cast<void*>(base), extents, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzle,
                                           CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result != CUDA_SUCCESS)
    throw Error(ErrorCode::shape, "the driver makes no tensor map of " + std::to_string(batch) + " samples of " + std::to_string(tokens) + " x " +
                                       std::to_string(columns) + " (error " + std::to_string(static_cast<int>(result)) + ").");
  return map;
}

}  // namespace repa::cuda
