#include "core/allocator.h"

#include <algorithm>

#include "core/error.h"

namespace repa {

namespace {

#if defined(REPA_SIMT) && defined(__SANITIZE_ADDRESS__)
/// Where AddressSanitizer watches the kernels a block is as large as was asked for and serves once: what reads beyond a tensor's end, or
/// after it was freed, is seen.
constexpr bool kWatched = true;
#else
constexpr bool kWatched = false;
#endif

/// Sizes in steps of an eighth of a power of two: few enough distinct sizes that blocks are found again, at most 12.5 % waste.
int64_t blockSize(int64_t bytes) {
  constexpr int64_t kSmallest = 256;
  if (kWatched) return bytes > 0 ? bytes : 1;
  if (bytes <= kSmallest) return kSmallest;
  const int64_t step = int64_t{1} << (63 - __builtin_clzll(static_cast<uint64_t>(bytes)) - 3);
  return (bytes + step - 1) / step * step;
}

std::string megabytes(int64_t bytes) { return std::to_string(bytes / 1048576 + (bytes % 1048576 != 0)) + " MiB"; }

/// Sizes beyond this are never had, and below it no sum of sizes overflows.
constexpr int64_t kLargestRequest = int64_t{1} << 60;

}  // namespace

Allocator::Allocator(Source& source, int64_t limitBytes) : source_(source) { stats_.limitBytes = limitBytes; }

Allocator::Block Allocator::allocate(int64_t bytes, const char* purpose) {
  std::lock_guard lock(mutex_);
  if (kWatched && !open_) trimLocked();
  const int64_t size = blockSize(bytes < kLargestRequest ? bytes : kLargestRequest);
  Block block{};
  if (open_) block = takeFree(open_->free, size);
  if (!block.data) block = takeFree(free_, size);
  if (!block.data) {
    block.bytes = size;
    const auto full = [&] { return stats_.liveBytes + stats_.cachedBytes + size > stats_.limitBytes; };
    if (full()) trimLocked();
    if (!full()) block.data = source_.take(size);
    // Not where it is the limit that is in the way: what is still cached then is graphs', and stays.
    if (!block.data && !full() && stats_.cachedBytes > 0) {
      trimLocked();
      block.data = source_.take(size);
    }
    if (!block.data) throw outOfMemory(bytes, size, purpose);
    ++stats_.systemAllocations;
    stats_.liveBytes += size;
  }
  if (open_) open_->blocks.insert(block.data);
  if (stats_.liveBytes > stats_.peakBytes) stats_.peakBytes = stats_.liveBytes;
  return block;
}

void* Allocator::takeUncounted(int64_t bytes, const char* purpose) {
  std::lock_guard lock(mutex_);
  void* block = source_.take(bytes);
  if (!block) {
    trimLocked();
    block = source_.take(bytes);
  }
  if (!block) throw outOfMemory(bytes, bytes, purpose);
  return block;
}

Error Allocator::outOfMemory(int64_t bytes, int64_t size, const char* purpose) const {
  // What is cached is given back by now, but for graphs' blocks, which count.
  const bool isWithinLimit = size <= stats_.limitBytes - stats_.liveBytes - stats_.cachedBytes;
  return Error(ErrorCode::outOfMemory, std::string(purpose) + ": out of memory: " + megabytes(bytes) + " asked for, " +
                                           megabytes(stats_.liveBytes) + " in use, limit " + megabytes(stats_.limitBytes) +
                                           (isWithinLimit ? ", but the system gives no more, for others may hold it" : "") +
                                           ". Use a smaller batch or model.");
}

Allocator::Block Allocator::takeFree(FreeBlocks& free, int64_t size) {
  // A block up to a quarter larger than asked is better reused than left beside a new one.
  for (auto found = free.lower_bound(size); found != free.end() && found->first <= size + size / 4; ++found) {
    auto& [bytes, blocks] = *found;
    if (blocks.empty()) continue;
    const Block block{blocks.back(), bytes};
    blocks.pop_back();
    stats_.cachedBytes -= bytes;
    stats_.liveBytes += bytes;
    return block;
  }
  return {};
}

Allocator::Pool* Allocator::poolOf(void* block) {
  for (auto& [number, pool] : pools_)
    if (pool.blocks.contains(block)) return &pool;
  return nullptr;
}

void Allocator::beginPool() {
  std::lock_guard lock(mutex_);
  if (open_) throw Error(ErrorCode::invalidArgument, "A pool of memory is open already; a capture cannot begin inside another.");
  open_ = &pools_[nextPool_];
}

int64_t Allocator::endPool() {
  std::lock_guard lock(mutex_);
  open_ = nullptr;
  return nextPool_++;
}

void Allocator::dropPool(int64_t pool) {
  std::lock_guard lock(mutex_);
  const auto found = pools_.find(pool);
  if (found == pools_.end()) return;
  for (auto& [size, blocks] : found->second.free) {
    std::vector<void*>& free = free_[size];
    free.insert(free.end(), blocks.begin(), blocks.end());
  }
  pools_.erase(found);
}

void Allocator::release(Block block) {
  std::lock_guard lock(mutex_);
  stats_.liveBytes -= block.bytes;
  stats_.cachedBytes += block.bytes;
  Pool* pool = pools_.empty() ? nullptr : poolOf(block.data);
  (pool ? pool->free : free_)[block.bytes].push_back(block.data);
}

MemoryStats Allocator::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

void Allocator::resetPeak() {
  std::lock_guard lock(mutex_);
  stats_.peakBytes = stats_.liveBytes;
}

void Allocator::setLimit(int64_t bytes) {
  std::lock_guard lock(mutex_);
  stats_.limitBytes = bytes;
}

bool Allocator::trim() {
  std::lock_guard lock(mutex_);
  return trimLocked();
}

bool Allocator::trimLocked() {
  if (std::ranges::all_of(free_, [](const auto& blocksOfSize) { return blocksOfSize.second.empty(); })) return false;
  source_.waitForQueue();
  for (auto& [size, blocks] : free_)
    for (void* block : blocks) {
      source_.give(block, size);
      stats_.cachedBytes -= size;
    }
  free_.clear();
  return true;
}

}  // namespace repa
