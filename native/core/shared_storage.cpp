#include "core/shared_storage.h"

#include <atomic>
#include <memory>

#include "core/device.h"

namespace repa {

struct SharedStorage::Block {
  Device& device;
  Allocator::Block memory;  // its size is the allocator's
  std::atomic<int64_t> shares{1};
};

SharedStorage SharedStorage::allocate(Device& device, int64_t bytes, const char* purpose) {
  SharedStorage storage;
  std::unique_ptr<Block> block(new Block{device, {}});
  block->memory = device.allocator().allocate(bytes, purpose);
  storage.block_ = block.release();
  return storage;
}

Device& SharedStorage::device() const { return block_->device; }

void* SharedStorage::data() const { return block_->memory.data; }

bool SharedStorage::isShared() const { return block_->shares.load(std::memory_order_relaxed) > 1; }

void SharedStorage::share() const { block_->shares.fetch_add(1, std::memory_order_relaxed); }

void SharedStorage::giveUp() const {
  // What other threads did with the block comes before it goes back.
  if (block_->shares.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  block_->device.allocator().release(block_->memory);
  delete block_;
}

}  // namespace repa
