#include "simt/traffic/traffic.h"

#include <dlfcn.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <fstream>
#include <iomanip>

#include "simt/device.h"
#include "simt/scheduler.h"
#include "simt/symbols.h"

namespace repa::simt {

thread_local Traffic* watching = nullptr;

namespace {

/// Of a launch's clusters so many are watched, from a random order; what they ask for is taken for what all do.
constexpr double watchedClusters = 4;
/// How far back a thread's access may be that the next is one with: two vectors, element for element in turns.
constexpr size_t mergeWindow = 32;
/// And how far behind it in the code.
constexpr uintptr_t mergeCode = 4096;
constexpr uint32_t vectorBytes = 16;

/// Where an instruction stands in the file that it was loaded from.
uintptr_t offsetInFile(uintptr_t pc) {
  Dl_info info = {};
  dladdr(reinterpret_cast<const void*>(pc), &info);
  return pc - reinterpret_cast<uintptr_t>(info.dli_fbase);
}

const char* const path = std::getenv("REPA_SIMT_TRAFFIC");

/// Where REPA_SIMT_TRAFFIC names a file, launches are counted from when the addon is loaded, and the counts added to it at the process's end.
[[maybe_unused]] const bool counts = [] {
  if (!path) return false;
  static auto& traffic = *new Traffic;
  observer = &traffic;
  std::atexit([] {
    std::ofstream file(path, std::ios::app);
    traffic.write(file);
  });
  return true;
}();

}  // namespace

void Traffic::launchBegins(const Launch& launch) {
  kernel_ = kernelInFile(launch.kernel);
  clusters_ = watched_ = 0;
  watching = this;
}

void Traffic::access(const void* pc, const void* address, size_t bytes, bool store) {
  if (!watching) return;
  const bool shared = inSharedMemory(*currentThread->block, address, bytes);
  if (!shared && !inDeviceMemory(address, bytes)) return;
  const auto at = reinterpret_cast<uintptr_t>(address);
  const auto code = reinterpret_cast<uintptr_t>(pc);
  const Space space = shared ? Space::shared : Space::global;
  History& history = histories_[currentThread];
  std::vector<Access>& accesses = history.accesses;
  if (history.epoch != epoch_) {
    history.epoch = epoch_;
    history.mergeable = accesses.size();
  }
  const size_t oldest = std::max(history.mergeable, accesses.size() < mergeWindow ? 0 : accesses.size() - mergeWindow);
  for (size_t i = accesses.size(); i-- > oldest;) {
    Access& before = accesses[i];
    const uint32_t joined = before.bytes + static_cast<uint32_t>(bytes);
    if (before.store != store || before.space != space || before.address + before.bytes != at || joined > vectorBytes) continue;
    if (code <= before.lastPc || code - before.lastPc > mergeCode || before.address % std::bit_ceil(joined)) continue;
    before.bytes = joined;
    before.lastPc = code;
    return;
  }
  accesses.push_back({code, code, at, static_cast<uint32_t>(bytes), space, store});
}

void Traffic::count(const Access& first, const Request& request) {
  const Units units = first.space == Space::shared ? passesOf(request) : sectorsOf(request);
  Requests& sum = launch_[{first.pc, first.space, first.store, request.bytes}];
  sum.count += 1;
  sum.units += units.used;
  sum.leastUnits += units.least;
}

void Traffic::clusterEnds(const Cluster& cluster) {
  ++clusters_;
  if (!watching) return;
  ++watched_;
  for (const Block& block : cluster.blocks)
    for (const Warp& warp : block.warps) {
      struct Together {
        const Access* first = nullptr;
        Request request;
      };
      // By the instruction, which may both load and store, and by how often a lane has come by it.
      using LoadOrStore = std::pair<uintptr_t, bool>;
      std::map<std::pair<LoadOrStore, uint32_t>, Together> requests;
      for (int lane = 0; lane < warpLanes; ++lane) {
        if (!warp.lanes[lane]) continue;
        std::map<LoadOrStore, uint32_t> times;
        for (const Access& access : histories_[warp.lanes[lane]].accesses) {
          const LoadOrStore instruction = {access.pc, access.store};
          Together& together = requests[{instruction, times[instruction]++}];
          if (!together.first) together.first = &access;
          together.request.lanes |= 1u << lane;
          together.request.bytes = std::max(together.request.bytes, access.bytes);
          together.request.addresses[lane] = access.address;
        }
      }
      for (const auto& [key, together] : requests) count(*together.first, together.request);
    }
  for (auto& [thread, history] : histories_) {
    history.accesses.clear();
    history.mergeable = 0;
  }
  if (watched_ >= watchedClusters) watching = nullptr;
}

void Traffic::launchEnds() {
  watching = nullptr;
  const double share = watched_ ? clusters_ / watched_ : 0;
  for (const auto& [instruction, one] : launch_) {
    Requests& sum = all_[kernel_][instruction];
    sum.count += share * one.count;
    sum.units += share * one.units;
    sum.leastUnits += share * one.leastUnits;
  }
  launch_.clear();
  histories_.clear();
}

void Traffic::matricesPass(const void* pc, bool store, int matrices, int passes) {
  if (!watching) return;
  constexpr uint32_t bytes = 16;
  Requests& sum = launch_[{reinterpret_cast<uintptr_t>(pc), Space::shared, store, bytes}];
  sum.count += 1;
  sum.units += passes;
  sum.leastUnits += matrices;
}

void Traffic::write(std::ostream& to) const {
  to << std::fixed << std::setprecision(0);
  for (const auto& [kernel, instructions] : all_)
    for (const auto& [instruction, sum] : instructions)
      // The instruction's own place: what was noted is where the call of it returns to.
      to << offsetInFile(instruction.pc - 1) << "\t" << (instruction.space == Space::shared ? "shared" : "global") << "\t"
         << (instruction.store ? "store" : "load") << "\t" << instruction.bytes << "\t" << sum.count << "\t" << sum.units << "\t"
         << sum.leastUnits << "\t" << kernel << "\n";
}

}  // namespace repa::simt
