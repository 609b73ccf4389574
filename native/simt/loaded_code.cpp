#include "simt/loaded_code.h"

#include <cstdlib>
#include <mutex>
#include <set>

#include "simt/device.h"

namespace repa::simt {

bool loadCode(const void* kernel) {
  static const char* const bytes = std::getenv("REPA_SIMT_CODE");
  if (!bytes) return true;
  static auto& mutex = *new std::mutex;
  static auto& loaded = *new std::set<const void*>;
  const std::lock_guard lock(mutex);
  if (loaded.contains(kernel)) return true;
  if (!takeForDriver(static_cast<size_t>(std::strtoull(bytes, nullptr, 10)))) return false;
  loaded.insert(kernel);
  return true;
}

}  // namespace repa::simt
