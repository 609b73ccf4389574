#include "simt/failure.h"

#include <mutex>

namespace repa::simt {

namespace {
std::mutex mutex;
auto& failure = *new std::string;
}  // namespace

std::string lastFailure() {
  std::lock_guard lock(mutex);
  return failure;
}

void recordFailure(const std::string& sentence) {
  std::lock_guard lock(mutex);
  if (failure.empty()) failure = sentence;
}

void clearFailure() {
  std::lock_guard lock(mutex);
  failure.clear();
}

}  // namespace repa::simt
