#include "core/process_memory.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>

namespace repa {

namespace {

/// The least of `limit` and what a group's file and those of all groups around it say: each of them holds. A container sees its own group's
/// folder as the whole tree, and the group's name may be one that only the machine knows, so that folders which are missing say nothing.
int64_t leastLimit(const std::string& tree, std::string group, const std::string& name, int64_t limit) {
  for (;;) {
    std::ifstream file(tree + group + "/" + name);
    // "max" is no number.
    if (int64_t bytes = 0; file >> bytes && bytes > 0) limit = std::min(limit, bytes);
    if (group.empty()) return limit;
    group.resize(group.rfind('/'));
  }
}

}  // namespace

int64_t memoryOfProcess(const std::string& root) {
  int64_t limit = static_cast<int64_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  // A line for each hierarchy, "number:controllers:/group": version 2 has one, without controllers.
  std::ifstream groups(root + "/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos || line.compare(second + 1, 1, "/") != 0) continue;
    const std::string group = line.substr(second + 1);
    std::string controllers = line.substr(first, second - first) + ",";
    controllers.front() = ',';
    if (controllers == ",,") limit = leastLimit(root + "/sys/fs/cgroup", group, "memory.max", limit);
    else if (controllers.find(",memory,") != std::string::npos) limit = leastLimit(root + "/sys/fs/cgroup/memory", group, "memory.limit_in_bytes", limit);
  }
  return limit;
}

int64_t residentBytes() {
  std::ifstream pages("/proc/self/statm");
  int64_t all = 0, resident = 0;
  return pages >> all >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

}  // namespace repa
