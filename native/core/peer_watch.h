// Who of the processes that compute together is still there, watched on a thread of its own: the one that hears of it otherwise may be waiting
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

/// Of processes of one machine; of others nothing is seen.
class PeerWatch {
 public:
  /// Shows this process to the others of its `group`, a text that none but they have. Where the machine has no place for that, nobody is
  /// watched.
  PeerWatch(const std::string& group, int rank, int size);
  ~PeerWatch();
  PeerWatch(const PeerWatch&) = delete;
  PeerWatch& operator=(const PeerWatch&) = delete;

  /// Once all have come: calls `ended` with the rank of one that has ended since, some seconds after it did and once.
  void begin(std::function<void(int rank)> ended);
  /// Calls nobody from here on. Not to be called by `ended`.
  void end();

 private:
  void watch(const std::function<void(int rank)>& ended);

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
