// How many cores this process may run on.
#pragma once

#include <sched.h>

#include <thread>

namespace repa {

/// At least 1. Where a batch system or a container gives a process fewer than the machine has, those it gives.
inline int usableCores() {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
  const unsigned cores = std::thread::hardware_concurrency();
  return cores ? static_cast<int>(cores) : 1;
}

}  // namespace repa
