// Arrays of device memory for the tests.
#pragma once

#include <cuda_runtime.h>

#include <vector>

#include "cuda/check.h"

namespace repa::cuda::test {

template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(size_t size) : size_(size) { check(cudaMalloc(&data_, size * sizeof(T)), "allocate a test's memory"); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), "fill a test's memory");
  }
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;

  T* data() const { return data_; }
  size_t size() const { return size_; }

  std::vector<T> read() const {
    std::vector<T> values(size_);
    check(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), "read a test's memory");
    return values;
  }

 private:
  T* data_ = nullptr;
  size_t size_;
};

}  // namespace repa::cuda::test
