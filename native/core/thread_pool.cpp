#include "core/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "core/start_thread.h"
#include "core/usable_cores.h"

// How a run works. The caller writes the body and resets the chunk counter, then opens the gate. Workers that are awake
// enter through the gate, take chunks, and leave; the caller takes chunks too. When none is left the caller shuts the
// gate, so that a worker that wakes too late finds it shut and goes back to waiting, and waits only for those inside.
// Nobody inside means that nobody reads the body, so the caller may return and the next run may overwrite it.

namespace repa {
namespace {

using Clock = std::chrono::steady_clock;

// Within one training step the next run comes some microseconds after the last one ended, and waking a sleeper costs
// 10 to 50 microseconds at best and a scheduler's tick at worst. So a thread that waits first spins for a moment, then
// offers its core to others (sched_yield) for a while, and sleeps at the end of that or as soon as somebody took the
// offer: beside another busy process a waiting thread must not be in the way.
constexpr auto kSpin = std::chrono::microseconds(30);
constexpr auto kYield = std::chrono::microseconds(200);
constexpr auto kOfferTaken = std::chrono::microseconds(20);

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

/// Waits for `ready` without sleeping, as long as that is sensible; says whether it came.
template <class Ready>
bool stayAwakeUntil(Ready ready) {
  const auto start = Clock::now();
  auto now = start;
  while (now - start < kSpin) {
    for (int i = 0; i < 16; ++i) {
      if (ready()) return true;
      pause();
    }
    now = Clock::now();
  }
  while (now - start < kYield) {
    if (ready()) return true;
    const auto before = now;
    std::this_thread::yield();
    now = Clock::now();
    if (now - before > kOfferTaken) break;
  }
  return ready();
}

}  // namespace

struct ThreadPool::State {
  using Body = FunctionRef<void(int64_t, int)>;

  // The gate: the run's number in the upper half, then the open bit, then how many workers are inside.
  static constexpr uint64_t kOpen = uint64_t{1} << 31;
  static constexpr uint64_t kInside = kOpen - 1;
  static uint64_t runOf(uint64_t gate) { return gate >> 32; }

  alignas(64) std::atomic<uint64_t> gate{0};
  alignas(64) std::atomic<int64_t> nextChunk{0};

  // Written by the caller while the gate is shut and nobody is inside, read by those inside.
  alignas(64) int64_t chunks = 0;
  const Body* body = nullptr;

  bool stayAwake = false;  // pointless when the threads must share cores among themselves
  std::mutex mutex;  // guards going to sleep, so that no wake-up is lost
  std::condition_variable opened;
  std::condition_variable emptied;
  std::atomic<int> sleepingWorkers{0};
  std::atomic<bool> callerSleeps{false};
  std::atomic<bool> stopping{false};
  std::vector<std::thread> workers;

  explicit State(int threads) {
    stayAwake = threads <= usableCores();
    try {
      for (int thread = 1; thread < threads; ++thread) workers.emplace_back([this, thread] { work(thread); });
    } catch (const std::system_error&) {
      const size_t started = workers.size();
      stop();
      throw noMoreThreads(std::to_string(started) + " of the " + std::to_string(threads - 1) + " that were to compute beside this one could be started; set REPA_THREADS lower");
    }
  }

  ~State() { stop(); }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    opened.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void takeChunks(const Body& run, int64_t count, int thread) {
    for (int64_t chunk; (chunk = nextChunk.fetch_add(1, std::memory_order_relaxed)) < count;) run(chunk, thread);
  }

  void work(int thread) {
    uint64_t lastRun = 0;
    for (;;) {
      const auto called = [&] {
        const uint64_t now = gate.load();
        return stopping.load(std::memory_order_relaxed) || ((now & kOpen) != 0 && runOf(now) != lastRun);
      };
      if (!(stayAwake && stayAwakeUntil(called))) {
        std::unique_lock lock(mutex);
        ++sleepingWorkers;
        opened.wait(lock, called);
        --sleepingWorkers;
      }
      if (stopping.load(std::memory_order_relaxed)) return;
      if (!enter(lastRun)) continue;
      takeChunks(*body, chunks, thread);
      leave();
    }
  }

  bool enter(uint64_t& lastRun) {
    uint64_t now = gate.load(std::memory_order_relaxed);
    while ((now & kOpen) != 0) {
      if (gate.compare_exchange_weak(now, now + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
        lastRun = runOf(now);
        return true;
      }
    }
    return false;
  }

  void leave() {
    const uint64_t before = gate.fetch_sub(1);
    if ((before & (kOpen | kInside)) != 1 || !callerSleeps.load()) return;
    { const std::lock_guard lock(mutex); }
    emptied.notify_one();
  }

  void run(int64_t count, const Body& call) {
    body = &call;
    chunks = count;
    nextChunk.store(0, std::memory_order_relaxed);
    gate.store(((runOf(gate.load(std::memory_order_relaxed)) + 1) << 32) | kOpen);
    wakeWorkers(count - 1);

    takeChunks(call, count, 0);

    gate.fetch_and(~kOpen);
    const auto empty = [this] { return (gate.load() & kInside) == 0; };
    if (empty() || (stayAwake && stayAwakeUntil(empty))) return;
    std::unique_lock lock(mutex);
    callerSleeps = true;
    emptied.wait(lock, empty);
    callerSleeps = false;
  }

  /// Wakes as many sleepers as there are chunks for. A worker counts itself as sleeping before it looks at the gate for
  /// the last time, and both are sequentially consistent: either it is seen here or it sees the gate open.
  void wakeWorkers(int64_t wanted) {
    if (sleepingWorkers.load() == 0) return;
    { const std::lock_guard lock(mutex); }
    if (wanted >= static_cast<int64_t>(workers.size())) {
      opened.notify_all();
    } else {
      for (int64_t i = 0; i < wanted; ++i) opened.notify_one();
    }
  }
};

ThreadPool::ThreadPool(int threads) : state_(new State(threads)) {}
ThreadPool::~ThreadPool() { delete state_; }

int ThreadPool::threads() const { return static_cast<int>(state_->workers.size()) + 1; }

void ThreadPool::parallelFor(int64_t chunks, FunctionRef<void(int64_t chunk, int thread)> body) {
  if (chunks <= 0) return;
  if (chunks == 1 || state_->workers.empty()) {
    for (int64_t chunk = 0; chunk < chunks; ++chunk) body(chunk, 0);
    return;
  }
  state_->run(chunks, body);
}

}  // namespace repa
