// What kernels ask of memory, counted as a chip serves it: a warp's 32 accesses by one instruction are one request, which shared memory
// serves in passes through its 32 banks and global memory in sectors of 32 bytes. Kernels' accesses come from a compiler that instruments
// them (-fsanitize=thread), those of emulated instructions from the shim.
//
// An estimate. Lanes are matched by how often each has come by the instruction, as if the warp kept together; neighbouring elements that a
// thread reads one after the other count as one vector where they are aligned as one, though the host's compiler has taken it apart.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <map>
#include <ostream>
#include <string>
#include <unordered_map>
#include <vector>

#include "simt/block.h"
#include "simt/observer.h"

namespace repa::simt {

enum class Space : uint8_t { shared, global };

/// A place in a kernel's code that asks for so many bytes a lane.
struct Instruction {
  uintptr_t pc;
  Space space;
  bool store;
  uint32_t bytes;

  auto operator<=>(const Instruction&) const = default;
};

/// An instruction's requests.
struct Requests {
  double count = 0;
  double units = 0;       // passes of shared memory, sectors of global memory
  double leastUnits = 0;  // for as many bytes side by side
};

/// One thread's access, or several neighbouring ones.
struct Access {
  uintptr_t pc;       // of the first
  uintptr_t lastPc;
  uintptr_t address;
  uint32_t bytes;
  Space space;
  bool store;
};

/// The lanes that execute an instruction together.
struct Request {
  uint32_t lanes = 0;
  uint32_t bytes = 0;  // each
  uintptr_t addresses[warpLanes] = {};
};

/// Passes through the banks of shared memory, and what they would be at best.
struct Units {
  int used, least;
};
Units passesOf(const Request& request);
/// Sectors of global memory, and the fewest that could hold as many bytes.
Units sectorsOf(const Request& request);

class Traffic final : public Observer {
 public:
  void launchBegins(const Launch& launch) override;
  void clusterEnds(const Cluster& cluster) override;
  void launchEnds() override;
  void access(const void* pc, const void* address, size_t bytes, bool store) override;
  void matricesPass(const void* pc, bool store, int matrices, int passes) override;

  /// No two accesses from before and after it are one.
  void fence() { ++epoch_; }

  /// By kernel.
  const std::map<std::string, std::map<Instruction, Requests>>& counted() const { return all_; }
  /// A line for each instruction of each kernel, of fields between tabs: where it stands in the file that the addon was loaded from, shared or
  /// global, load or store, bytes of a lane, requests, units, least units, kernel.
  void write(std::ostream& to) const;

 private:
  struct History {
    std::vector<Access> accesses;
    uint64_t epoch = 0;
    size_t mergeable = 0;  // where those begin that the next may be one with
  };

  void count(const Access& first, const Request& request);

  std::string kernel_;
  double clusters_ = 0, watched_ = 0;  // of the launch
  uint64_t epoch_ = 0;
  std::unordered_map<const Thread*, History> histories_;
  std::map<Instruction, Requests> launch_;
  std::map<std::string, std::map<Instruction, Requests>> all_;
};

/// While a launch is watched, on the thread that runs it.
extern thread_local Traffic* watching;

}  // namespace repa::simt
