// Whether the processes that compute together still can, watched on a thread of its own: the one that hears of it otherwise may be waiting
// for the device, which waits for a process that has ended.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/lockable_file.h"

namespace repa {

/// When a process that waits looks whether the others are still there, and how often then. Before that the group tells it, and why, where the
/// thread that hears the group is free (src/distributed/leading-group.ts takes a second and a half).
constexpr auto kPatienceWithPeers = std::chrono::seconds(5);
constexpr auto kBetweenLooksAtPeers = std::chrono::seconds(1);

/// Of processes of one machine; of others nothing is seen, but by what exchanges with them.
class PeerWatch {
 public:
  /// Shows this process to the others of its `group`, a text that none but they have. Where the machine has no place for that, nobody is
  /// watched.
  PeerWatch(const std::string& group, int rank, int size);
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  /// Once all have come: calls `lost` with a sentence that says which of them has ended since, or what `broken` has found, some seconds after it
  /// did and once.
  ///
  /// @param broken why nothing can be exchanged any more, in a sentence; empty: it can, as far as is known. Asked now and then
  void begin(std::function<void(const std::string& reason)> lost, std::function<std::string()> broken);
  /// Calls nobody from here on. Not to be called by `lost`.
  void end();

 private:
  void watch(const std::function<void(const std::string& reason)>& lost, const std::function<std::string()>& broken);
  /// Why the processes cannot go on; empty where they can.
  std::string reason(const std::function<std::string()>& broken) const;

  std::string path_;
  LockableFile file_;
  int rank_, size_;
  std::vector<int> others_;  // of this machine
  std::mutex mutex_;
  std::condition_variable changed_;
  bool isOver_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace repa
