#include "core/peer_watch.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "core/start_thread.h"

namespace repa {

PeerWatch::PeerWatch(const std::string& group, int rank, int size)
    : path_(sharedFolder() + "/repa-native-" + std::to_string(std::hash<std::string>()(group))),
      file_(open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)),
      rank_(rank),
      size_(size) {
  if (file_.descriptor() >= 0) file_.lock(rank);
}

PeerWatch::~PeerWatch() {
  end();
  // Where the others did not come.
  unlink(path_.c_str());
}

void PeerWatch::begin(std::function<void(int rank)> ended) {
  // All have it open, so the name may go: nothing is left behind, however the processes end.
  unlink(path_.c_str());
  if (file_.descriptor() < 0) return;
  for (int rank = 0; rank < size_; ++rank)
    if (rank != rank_ && file_.isLocked(rank)) others_.push_back(rank);
  if (others_.empty()) return;
  thread_ = startThread("what watches the other processes", [this, ended = std::move(ended)] { watch(ended); });
}

void PeerWatch::watch(const std::function<void(int rank)>& ended) {
  std::unique_lock lock(mutex_);
  const auto isOver = [this] { return isOver_; };
  for (;;) {
    if (changed_.wait_for(lock, kBetweenLooksAtPeers, isOver)) return;
    const auto gone = std::ranges::find_if_not(others_, [this](int rank) { return file_.isLocked(rank); });
    if (gone == others_.end()) continue;
    if (changed_.wait_for(lock, kPatienceWithPeers, isOver)) return;
    lock.unlock();
    return ended(*gone);
  }
}

void PeerWatch::end() {
  {
    const std::lock_guard lock(mutex_);
    isOver_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

}  // namespace repa
