// How much memory this process may take before the system kills it.
#pragma once

#include <cstdint>
#include <string>

namespace repa {

/// The machine's memory, or less where a control group (a container's, a batch job's) that this process is in has a limit: memory.max of
/// version 2, memory.limit_in_bytes of version 1. `root` is the folder that /proc and /sys are in.
int64_t memoryOfProcess(const std::string& root = "");

/// What this process has in memory already: its program, the JS engine's heap.
int64_t residentBytes();

}  // namespace repa
