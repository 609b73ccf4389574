#include "core/tensor.h"

#include "core/device.h"

namespace repa {

Storage::Storage(Device& device, int64_t bytes, const char* purpose) : device_(device) {
  const Allocator::Block block = device.allocator().allocate(bytes, purpose);
  data_ = block.data;
  bytes_ = block.bytes;
}

Storage::~Storage() { device_.allocator().release({data_, bytes_}); }

}  // namespace repa
