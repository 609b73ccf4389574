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

void PeerWatch::begin(std::function<void(const std::string& reason)> lost, std::function<std::string()> broken) {
  // All have it open, so the name may go: nothing is left behind, however the processes end.
  unlink(path_.c_str());
  if (file_.descriptor() >= 0)
    for (int rank = 0; rank < size_; ++rank)
      if (rank != rank_ && file_.isLocked(rank)) others_.push_back(rank);
  thread_ = startThread("what watches the other processes", [this, lost = std::move(lost), broken = std::move(broken)] { watch(lost, broken); });
}

void PeerWatch::watch(const std::function<void(const std::string& reason)>& lost, const std::function<std::string()>& broken) {
  std::unique_lock lock(mutex_);
  const auto isOver = [this] { return isOver_; };
  for (;;) {
    if (changed_.wait_for(lock, kBetweenLooksAtPeers, isOver)) return;
    const std::string found = reason(broken);
    if (found.empty()) continue;
    if (changed_.wait_for(lock, kPatienceWithPeers, isOver)) return;
    lock.unlock();
    return lost(found);
  }
}

std::string PeerWatch::reason(const std::function<std::string()>& broken) const {
  const auto gone = std::ranges::find_if_not(others_, [this](int rank) { return file_.isLocked(rank); });
  if (gone == others_.end()) return broken();
  return "process " + std::to_string(*gone) + " of " + std::to_string(size_) + " has ended.";
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
