#include "core/shared_memory_communicator.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <thread>

#include "core/lockable_file.h"
#include "core/peer_watch.h"

namespace repa {

namespace {

using Clock = std::chrono::steady_clock;

/// What one process shows the others at a time: small enough to be in a cache still when it is read. 38 million floats of two processes on two
/// cores take 32 ms so, 70 ms at 1 MiB.
constexpr int64_t kSlotBytes = 1 << 18;
constexpr int64_t kSlotFloats = kSlotBytes / 4;
/// The smallest piece of work for a thread.
constexpr int64_t kChunkFloats = 1 << 14;
constexpr auto kLongestOpening = std::chrono::seconds(60);

/// The beginning of the segment. A fresh file is zeros, which is how all of it begins.
struct Header {
  alignas(64) std::atomic<uint32_t> arrived;
  alignas(64) std::atomic<uint32_t> generation;  // of the barrier
};
static_assert(std::atomic<uint32_t>::is_always_lock_free, "a lock of one process would mean nothing to another");

constexpr int64_t kHeaderBytes = 4096;
static_assert(sizeof(Header) <= kHeaderBytes);

/// One slot for each process, and one for the sums.
int64_t segmentBytes(int size) { return kHeaderBytes + (size + 1) * kSlotBytes; }

std::string systemError() { return std::strerror(errno); }

}  // namespace

/// The memory, the barrier in it, and whether this process has given up.
class SharedMemoryCommunicator::Segment {
 public:
  Segment(const std::string& file, int rank, int size)
      : rank_(rank), size_(size), bytes_(segmentBytes(size)), opened_(open(file.c_str(), O_RDWR | O_CLOEXEC)) {
    if (opened_.descriptor() < 0) throw Error(ErrorCode::device, "The memory that processes share, " + file + ", does not open: " + systemError() + ".");
    struct stat status {};
    if (fstat(opened_.descriptor(), &status) != 0 || status.st_size != bytes_)
      throw Error(ErrorCode::device, "The memory that processes share, " + file + ", has " + std::to_string(status.st_size) + " bytes; " +
                                         std::to_string(size) + " processes need " + std::to_string(bytes_) + ".");
    if (!opened_.lock(rank))
      throw Error(ErrorCode::device, "The memory that processes share, " + file + ", does not take process " + std::to_string(rank) + ": " + systemError() + ".");
    memory_ = mmap(nullptr, static_cast<size_t>(bytes_), PROT_READ | PROT_WRITE, MAP_SHARED, opened_.descriptor(), 0);
    if (memory_ == MAP_FAILED) throw Error(ErrorCode::device, "The memory that processes share cannot be mapped: " + systemError() + ".");
  }
  ~Segment() { munmap(memory_, static_cast<size_t>(bytes_)); }
  Segment(const Segment&) = delete;
  Segment& operator=(const Segment&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  float* slot(int rank) const { return reinterpret_cast<float*>(static_cast<char*>(memory_) + kHeaderBytes + rank * kSlotBytes); }
  /// Where sums stand.
  float* sums() const { return slot(size_); }

  /// Returns once every process has come here. Throws Error(failed) where this one gives up meanwhile, or another has ended (on Linux), and
  /// Error(device) where `deadline` has passed: until then they may still come. That another one gives up is not told here.
  void barrier(std::optional<Clock::time_point> deadline = {}) {
    Header& header = *static_cast<Header*>(memory_);
    const uint32_t generation = header.generation.load(std::memory_order_acquire);
    if (header.arrived.fetch_add(1, std::memory_order_acq_rel) + 1 == static_cast<uint32_t>(size_)) {
      header.arrived.store(0, std::memory_order_relaxed);
      header.generation.fetch_add(1, std::memory_order_acq_rel);
      return;
    }
    const auto isOver = [&] { return header.generation.load(std::memory_order_acquire) != generation; };
    auto look = Clock::now() + kPatienceWithPeers;
    for (int turn = 0; !isOver(); ++turn) {
      requireGoing();
      if (!deadline && Clock::now() > look) {
        const std::optional<int> gone = findEnded();
        // It may have ended once all had come here.
        if (gone && !isOver()) throw Error(ErrorCode::failed, "process " + std::to_string(*gone) + " of " + std::to_string(size_) + " has ended.");
        look += kBetweenLooksAtPeers;
      }
      if (deadline && Clock::now() > *deadline)
        throw Error(ErrorCode::device, "Only " + std::to_string(header.arrived.load()) + " of " + std::to_string(size_) + " processes have come.");
      // The others may want this core: no spinning for longer than they take when all goes well.
      if (turn < 200) std::this_thread::yield();
      else std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
  }

  void abort(const std::string& reason) {
    {
      const std::lock_guard lock(mutex_);
      if (reason_.empty()) reason_ = reason;
    }
    hasGivenUp_.store(true, std::memory_order_release);
  }

 private:
  void requireGoing() {
    if (!hasGivenUp_.load(std::memory_order_acquire)) return;
    const std::lock_guard lock(mutex_);
    throw Error(ErrorCode::failed, reason_);
  }

  /// A process that has let go of its byte of the file, if there is one.
  std::optional<int> findEnded() const {
    for (int rank = 0; rank < size_; ++rank)
      if (rank != rank_ && !opened_.isLocked(rank)) return rank;
    return std::nullopt;
  }

  const int rank_, size_;
  const int64_t bytes_;
  const LockableFile opened_;
  void* memory_;
  std::atomic<bool> hasGivenUp_ = false;
  std::mutex mutex_;
  std::string reason_;  // guarded by mutex_
};

std::string SharedMemoryCommunicator::create(int size) {
  std::string file = sharedFolder() + "/repa-native-XXXXXX";
  const LockableFile made(mkstemp(file.data()));
  if (made.descriptor() < 0)
    throw Error(ErrorCode::device, "The memory that processes share cannot be made in " + sharedFolder() + ": " + systemError() + ".");
  // All of it now: a page that the system cannot give later kills the process that touches it.
  const int64_t bytes = segmentBytes(size);
#if defined(__linux__)
  const int failed = posix_fallocate(made.descriptor(), 0, bytes);
#else
  const int failed = ftruncate(made.descriptor(), bytes) == 0 ? 0 : errno;
#endif
  if (failed != 0) {
    unlink(file.c_str());
    throw Error(ErrorCode::outOfMemory, std::to_string(size) + " processes share " + std::to_string(bytes) + " bytes of memory, which " + sharedFolder() +
                                            " has not: " + std::strerror(failed) + ".");
  }
  return file;
}

SharedMemoryCommunicator::SharedMemoryCommunicator(CpuDevice& device, const std::string& file, int rank, int size)
    : Communicator(device, size), cpu_(device), segment_(std::make_shared<Segment>(file, rank, size)) {
  segment_->barrier(Clock::now() + kLongestOpening);
  // All have it open, so the name may go: nothing is left behind, however the processes end.
  if (rank == 0) unlink(file.c_str());
}

SharedMemoryCommunicator::~SharedMemoryCommunicator() = default;

namespace {

/// A part of a tensor that fits into a slot beside others.
struct Piece {
  float* data;
  int64_t offset, count;  // in floats; offset in the slot
};

/// What is exchanged at a time. A process writes its slot before a round's first barrier and the sums after it, and reads others' slots before the
/// second and sums after it: so every place is read before it is written again, whichever exchange follows.
struct Round {
  std::vector<Piece> pieces;
  int64_t floats = 0;
};

/// The tensors cut and packed into slots.
std::vector<Round> roundsOf(const std::vector<Tensor>& tensors) {
  std::vector<Round> rounds;
  for (const Tensor& tensor : tensors) {
    for (int64_t begin = 0; begin < tensor.elements();) {
      if (rounds.empty() || rounds.back().floats == kSlotFloats) rounds.emplace_back();
      Round& round = rounds.back();
      const int64_t count = std::min(tensor.elements() - begin, kSlotFloats - round.floats);
      round.pieces.push_back({tensor.f32() + begin, round.floats, count});
      round.floats += count;
      begin += count;
    }
  }
  return rounds;
}

/// Calls body(begin, end) for the chunks of [begin, end).
void overChunks(ThreadPool& pool, int64_t begin, int64_t end, FunctionRef<void(int64_t begin, int64_t end)> body) {
  const int64_t chunks = (end - begin + kChunkFloats - 1) / kChunkFloats;
  pool.parallelFor(chunks, [&](int64_t chunk, int) { body(begin + chunk * kChunkFloats, std::min(end, begin + (chunk + 1) * kChunkFloats)); });
}

void copyFloats(ThreadPool& pool, float* to, const float* from, int64_t count) {
  overChunks(pool, 0, count, [&](int64_t begin, int64_t end) { std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin) * sizeof(float)); });
}

}  // namespace

void SharedMemoryCommunicator::allReduceSum(const std::vector<Tensor>& tensors) {
  cpu_.enqueue("allReduceSum", [segment = segment_, rounds = roundsOf(tensors)](ThreadPool& pool) {
    const int rank = segment->rank(), size = segment->size();
    float* const sums = segment->sums();
    for (const Round& round : rounds) {
      for (const Piece& piece : round.pieces) copyFloats(pool, segment->slot(rank) + piece.offset, piece.data, piece.count);
      segment->barrier();
      // Each process sums a share of the round.
      overChunks(pool, round.floats * rank / size, round.floats * (rank + 1) / size, [&](int64_t begin, int64_t end) {
        std::memcpy(sums + begin, segment->slot(0) + begin, static_cast<size_t>(end - begin) * sizeof(float));
        for (int other = 1; other < size; ++other) {
          const float* const slot = segment->slot(other);
          for (int64_t i = begin; i < end; ++i) sums[i] += slot[i];
        }
      });
      segment->barrier();
      for (const Piece& piece : round.pieces) copyFloats(pool, piece.data, sums + piece.offset, piece.count);
    }
  });
}

namespace {

/// What each process owns of a range of `floats` that they divide, by rank.
std::vector<ArenaRange> ownedOf(const ArenaRange& range, int64_t floats, int64_t share, int size) {
  std::vector<ArenaRange> owned;
  for (int rank = 0; rank < size; ++rank) {
    const ArenaRange both = inBoth(shareOf(floats, share, rank, size), range);
    owned.push_back({both.begin, std::max(both.begin, both.end)});
  }
  return owned;
}

/// What each process owns, in rounds of at most `place` floats of each.
struct Shares {
  std::vector<ArenaRange> owned;
  int64_t place;

  int64_t rounds() const {
    int64_t longest = 0;
    for (const ArenaRange& own : owned) longest = std::max(longest, own.end - own.begin);
    return (longest + place - 1) / place;
  }
  /// What round `round` has of what process `rank` owns; empty once that has come to its end.
  ArenaRange inRound(int64_t round, int rank) const {
    const ArenaRange& own = owned[static_cast<size_t>(rank)];
    const int64_t begin = std::min(own.begin + round * place, own.end);
    return {begin, std::min(begin + place, own.end)};
  }
};

void addTo(float* sums, const float* terms, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) sums[i] += terms[i];
}

}  // namespace

/// A slot has a place for every process that owns some of the range, in which it finds what the slot's owner has for it.
void SharedMemoryCommunicator::beginReduceSum(const Tensor& tensor, int64_t share, const std::vector<ArenaRange>& ranges) {
  for (const ArenaRange& range : ranges) {
    Shares shares{ownedOf(range, tensor.elements(), share, size()), kSlotFloats};
    const auto owners = std::count_if(shares.owned.begin(), shares.owned.end(), [](const ArenaRange& own) { return own.begin < own.end; });
    if (owners == 0) continue;
    shares.place /= owners;
    cpu_.enqueue("reduceSum", [segment = segment_, data = tensor.f32(), shares = std::move(shares)](ThreadPool& pool) {
      const int rank = segment->rank(), size = segment->size();
      for (int64_t round = 0, rounds = shares.rounds(); round < rounds; ++round) {
        int64_t ownPlace = 0, place = 0;
        for (int other = 0; other < size; ++other) {
          const ArenaRange part = shares.inRound(round, other);
          if (other == rank) ownPlace = place;
          else copyFloats(pool, segment->slot(rank) + place, data + part.begin, part.end - part.begin);
          place += part.end - part.begin;
        }
        segment->barrier();
        const ArenaRange part = shares.inRound(round, rank);
        float* const own = data + part.begin;
        const auto termsOf = [&](int process) { return process == rank ? own : segment->slot(process) + ownPlace; };
        // In the order of the ranks, where process 0's terms lie: nobody but this process reads them.
        overChunks(pool, 0, part.end - part.begin, [&](int64_t begin, int64_t end) {
          float* const sums = termsOf(0);
          for (int process = 1; process < size; ++process) addTo(sums, termsOf(process), begin, end);
          if (sums != own) std::memcpy(own + begin, sums + begin, static_cast<size_t>(end - begin) * sizeof(float));
        });
        segment->barrier();
      }
    });
  }
}

void SharedMemoryCommunicator::allGather(const Tensor& tensor, int64_t share) {
  const int64_t width = dtypeBytes(tensor.dtype()) / static_cast<int64_t>(sizeof(float)), floats = width * tensor.elements();
  const Shares shares{ownedOf({0, floats}, floats, width * share, size()), kSlotFloats};
  cpu_.enqueue("allGather", [segment = segment_, data = tensor.f32(), shares](ThreadPool& pool) {
    const int rank = segment->rank(), size = segment->size();
    for (int64_t round = 0, rounds = shares.rounds(); round < rounds; ++round) {
      const ArenaRange own = shares.inRound(round, rank);
      copyFloats(pool, segment->slot(rank), data + own.begin, own.end - own.begin);
      segment->barrier();
      for (int other = 0; other < size; ++other) {
        const ArenaRange part = shares.inRound(round, other);
        if (other != rank) copyFloats(pool, data + part.begin, segment->slot(other), part.end - part.begin);
      }
      segment->barrier();
    }
  });
}

void SharedMemoryCommunicator::broadcast(const Tensor& tensor, int root) {
  cpu_.enqueue("broadcast", [segment = segment_, rounds = roundsOf({tensor}), root](ThreadPool& pool) {
    const bool gives = segment->rank() == root;
    for (const Round& round : rounds) {
      for (const Piece& piece : round.pieces)
        if (gives) copyFloats(pool, segment->slot(root) + piece.offset, piece.data, piece.count);
      segment->barrier();
      for (const Piece& piece : round.pieces)
        if (!gives) copyFloats(pool, piece.data, segment->slot(root) + piece.offset, piece.count);
      segment->barrier();
    }
  });
}

void SharedMemoryCommunicator::abort(const std::string& reason) {
  cpu_.fail(reason);
  segment_->abort(reason);
}

}  // namespace repa
