// A block of a device's memory that several tensors share.
#pragma once

#include <cstdint>

namespace repa {

// Not its header: every file of kernels reads this one, for both architectures.
class Device;

/// A share in a block, which goes back to its allocator with the last. What std::shared_ptr would be, but for its header, which costs nvcc a
/// second in every file of kernels. Shares of one block may be made and given up on several threads.
class SharedStorage {
 public:
  SharedStorage() = default;
  SharedStorage(const SharedStorage& other) : block_(other.block_) {
    if (block_) share();
  }
  SharedStorage(SharedStorage&& other) noexcept : block_(other.block_) { other.block_ = nullptr; }
  SharedStorage& operator=(SharedStorage other) noexcept {
    Block* const mine = block_;
    block_ = other.block_;
    other.block_ = mine;
    return *this;
  }
  ~SharedStorage() {
    if (block_) giveUp();
  }

  /// A new block. Throws Error(outOfMemory), which names the `purpose`.
  static SharedStorage allocate(Device& device, int64_t bytes, const char* purpose);

  explicit operator bool() const { return block_ != nullptr; }
  Device& device() const;
  void* data() const;
  /// Whether there is another share in the block.
  bool isShared() const;

 private:
  struct Block;

  void share() const;
  void giveUp() const;

  Block* block_ = nullptr;
};

}  // namespace repa
