// A failure in the device's queue, which an operation causes only where other processes have gone, or this one's own memory: the CPU kernels
// are given theirs before they are enqueued, and throw nothing. So this drives CpuDevice itself. Prints what each wait was told.
#include <future>
#include <iostream>

#include "core/cpu_device.h"

namespace {

std::string waitFor(repa::CpuDevice& device) {
  std::promise<std::string> told;
  device.whenIdle([&](const std::string& failure) { told.set_value(failure); });
  return told.get_future().get();
}

}  // namespace

int main() {
  repa::CpuDevice& device = repa::CpuDevice::instance();
  int runs = 0;
  const auto count = [&](repa::ThreadPool&) { ++runs; };

  device.enqueue("before", count);
  device.enqueue("attention", [](repa::ThreadPool&) { throw std::runtime_error("no scratch"); });
  device.enqueue("after", count);
  device.enqueue("linear", [](repa::ThreadPool&) { throw std::runtime_error("never seen"); });
  const auto report = [&](const char* name, const std::string& told) { std::cout << runs << " " << name << ": " << (told.empty() ? "well" : told) << "\n"; };
  report("first wait", waitFor(device));
  report("second wait", waitFor(device));

  char bytes[4] = {};
  std::promise<std::string> told;
  device.download(bytes, bytes, sizeof bytes, [&](const std::string& failure) { told.set_value(failure); });
  report("read", told.get_future().get());

  device.reset();
  device.enqueue("afterwards", count);
  report("after reset", waitFor(device));

  device.enqueue("odd", [](repa::ThreadPool&) { throw 1; });
  report("thrown number", waitFor(device));
}
