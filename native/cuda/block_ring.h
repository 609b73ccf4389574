// Memory for what passes through in order: a ring of few blocks, which pieces of any size are put into one behind another. As pieces are let
// go of in the order in which they came, whether there is room is a question to the oldest block alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/error.h"

namespace repa {

/// `Block` has `int64_t used`, the bytes that pieces have taken since it was empty.
template <class Block>
class BlockRing {
 public:
  /// A piece has at most `blockBytes`.
  BlockRing(int64_t blockBytes, size_t mostBlocks) : blockBytes_(blockBytes), mostBlocks_(mostBlocks) {}

  int64_t blockBytes() const { return blockBytes_; }

  struct Piece {
    Block* block;
    int64_t offset;
  };

  /// Takes room for a piece: behind the last, or in the oldest block where that `isFree`, or in a block that is made with `make`, or in the
  /// oldest after a `wait` for it. Error(outOfMemory) of `make` is thrown on only where there is no block yet; later it says how many there
  /// may be.
  template <class IsFree, class Make, class Wait>
  Piece take(int64_t bytes, IsFree isFree, Make make, Wait wait) {
    if (blocks_.empty() || blocks_[newest_]->used + bytes > blockBytes_) takeBlock(isFree, make, wait);
    Block& block = *blocks_[newest_];
    const Piece piece{&block, block.used};
    block.used += (bytes + kAlignment - 1) / kAlignment * kAlignment;
    return piece;
  }

 private:
  static constexpr int64_t kAlignment = 256;

  template <class IsFree, class Make, class Wait>
  void takeBlock(IsFree isFree, Make make, Wait wait) {
    const size_t oldest = blocks_.empty() ? 0 : (newest_ + 1) % blocks_.size();
    const bool isTaken = blocks_.empty() || !isFree(*blocks_[oldest]);
    if (isTaken && blocks_.size() < mostBlocks_) {
      try {
        const size_t place = blocks_.empty() ? 0 : newest_ + 1;
        blocks_.insert(blocks_.begin() + static_cast<std::ptrdiff_t>(place), make());
        newest_ = place;
        return;
      } catch (const Error& error) {
        if (blocks_.empty() || error.code() != ErrorCode::outOfMemory) throw;
        mostBlocks_ = blocks_.size();
      }
    }
    if (isTaken) wait(*blocks_[oldest]);
    newest_ = oldest;
    blocks_[oldest]->used = 0;
  }

  int64_t blockBytes_;
  size_t mostBlocks_;
  std::vector<std::unique_ptr<Block>> blocks_;  // from newest_ + 1 on, round to newest_: by age
  size_t newest_ = 0;
};

}  // namespace repa
