// Which chip the shim's device is, and what a launch may ask of it.
#pragma once

#include <cstddef>
#include <string>

namespace repa::simt {

/// By the tables of features and technical specifications per compute capability in the CUDA programming guide. A multiprocessor has 65,536
/// registers, a block at most 1024 threads and, unasked, 48 KB of shared memory on all of them.
struct Architecture {
  int name;  // 86: compute capability 8.6
  size_t sharedPerMultiprocessor;
  size_t sharedPerBlockOptin;  // that a block may have, static and dynamic, if its kernel asks
  int threadsPerMultiprocessor;
  int blocksPerMultiprocessor;

  int major() const { return name / 10; }
  int minor() const { return name % 10; }
  bool hasClusters() const { return major() >= 9; }
  /// Code for sm_90a runs on 9.0 and on nothing later.
  bool runsHopperKernels() const { return name == 90; }
  /// What every resident block takes besides its own.
  size_t sharedReservedPerBlock() const { return sharedPerMultiprocessor - sharedPerBlockOptin; }
};

/// The one that REPA_SIMT_ARCH names, read at every call; 9.0 where it is not set, and null where it names none of the table.
const Architecture* architecture();

/// A sentence for the null.
std::string unknownArchitecture();

}  // namespace repa::simt
