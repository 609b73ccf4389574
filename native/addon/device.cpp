// Devices: what there is, waiting, memory, and how fast the CPU can be.
#include <chrono>
#include <memory>
#include <vector>

#include "addon/exports.h"
#include "addon/families.h"
#include "addon/promise.h"
#include "core/cpu_device.h"
#include "cpu/fma_peak.h"
#include "cpu/level.h"
#include "cuda/status.h"

namespace repa::addon {

namespace {

/// Multiply-adds for at least `seconds`; FLOP per second.
double measureFmaPeak(ThreadPool& pool, double seconds) {
  const auto& kernels = cpu::fmaPeakKernels();
  std::vector<float> results(static_cast<size_t>(pool.threads()));
  const cpu::FmaPeakArgs args{64 * pool.threads(), 0.5f, 1.0f, results.data()};
  double flops = 0.0;
  std::chrono::duration<double> elapsed{};
  const auto began = std::chrono::steady_clock::now();
  do {
    kernels.run(pool, args);
    flops += static_cast<double>(args.chunks * kernels.chunkFlops());
    elapsed = std::chrono::steady_clock::now() - began;
  } while (elapsed.count() < seconds);
  return flops / elapsed.count();
}

const Export kExports[] = {
    {"cpuInfo",
     [](const Arguments& a) -> Napi::Value {
       Napi::Object info = Napi::Object::New(a.env());
       info.Set("level", cpu::cpuLevelName(cpu::cpuLevel()));
       info.Set("threads", CpuDevice::instance().threads());
       Napi::Array levels = Napi::Array::New(a.env());
       for (cpu::CpuLevel level : {cpu::CpuLevel::portable, cpu::CpuLevel::avx2, cpu::CpuLevel::avx512})
         if (cpu::cpuLevelIsAvailable(level)) levels[levels.Length()] = Napi::String::New(a.env(), cpu::cpuLevelName(level));
       info.Set("levels", levels);
       return info;
     }},
    {"cudaInfo",
     [](const Arguments& a) -> Napi::Value {
       const CudaStatus& status = cudaStatus();
       Napi::Object info = Napi::Object::New(a.env());
       info.Set("state", cudaStateName(status.state));
       info.Set("reason", status.reason);
       info.Set("driverVersion", status.driverVersion);
       info.Set("runtimeVersion", status.runtimeVersion);
       Napi::Array devices = Napi::Array::New(a.env());
       for (const CudaDeviceInfo& device : status.devices) {
         Napi::Object entry = Napi::Object::New(a.env());
         entry.Set("ordinal", device.ordinal);
         entry.Set("name", device.name);
         entry.Set("memoryBytes", static_cast<double>(device.memoryBytes));
         entry.Set("computeCapability", std::to_string(device.major) + "." + std::to_string(device.minor));
         entry.Set("multiprocessors", device.multiprocessors);
         entry.Set("usable", device.usable);
         devices[devices.Length()] = entry;
       }
       info.Set("devices", devices);
       return info;
     }},
    {"measureFmaPeak",
     [](const Arguments& a) -> Napi::Value {
       const double seconds = a.number(0, "seconds");
       if (!(seconds > 0 && seconds <= 60))
         throw Error(ErrorCode::invalidArgument, "measureFmaPeak: seconds must be above 0 and at most 60.");
       auto rate = std::make_shared<double>(0.0);
       CpuDevice& device = CpuDevice::instance();
       return promise(
           a.env(), "measureFmaPeak",
           [&](auto done) {
             device.enqueue("measureFmaPeak", [rate, seconds](ThreadPool& pool) { *rate = measureFmaPeak(pool, seconds); });
             device.whenIdle(std::move(done));
           },
           [rate](Napi::Env env) -> Napi::Value { return Napi::Number::New(env, *rate); });
     }},
    {"synchronize",
     [](const Arguments& a) -> Napi::Value {
       Device& device = a.device(0, "device");
       return promise(a.env(), "synchronize", [&device](auto done) { device.whenIdle(std::move(done)); },
                      [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
     }},
    {"resetDevice",
     [](const Arguments& a) -> Napi::Value {
       a.device(0, "device").reset();
       return a.nothing();
     }},
    {"allowTf32",
     [](const Arguments& a) -> Napi::Value {
       a.device(0, "device").allowTf32(a.boolean(1, "on"));
       return a.nothing();
     }},
    {"beginCapture",
     [](const Arguments& a) -> Napi::Value {
       a.device(0, "device").beginCapture();
       return a.nothing();
     }},
    {"endCapture", [](const Arguments& a) -> Napi::Value { return Napi::Number::New(a.env(), static_cast<double>(a.device(0, "device").endCapture())); }},
    {"launchGraph",
     [](const Arguments& a) -> Napi::Value {
       a.device(0, "device").launchGraph(a.integer(1, "graph"));
       return a.nothing();
     }},
    {"destroyGraph",
     [](const Arguments& a) -> Napi::Value {
       a.device(0, "device").destroyGraph(a.integer(1, "graph"));
       return a.nothing();
     }},
    {"profile",
     [](const Arguments& a) -> Napi::Value {
       a.device(0, "device").profile(a.boolean(1, "on"));
       return a.nothing();
     }},
    {"costs",
     [](const Arguments& a) -> Napi::Value {
       Napi::Object object = Napi::Object::New(a.env());
       for (const auto& [operation, cost] : a.device(0, "device").costs()) {
         Napi::Object entry = Napi::Object::New(a.env());
         entry.Set("calls", static_cast<double>(cost.calls));
         entry.Set("seconds", cost.seconds);
         object.Set(operation, entry);
       }
       return object;
     }},
    {"memoryStats",
     [](const Arguments& a) -> Napi::Value {
       const MemoryStats stats = a.device(0, "device").allocator().stats();
       Napi::Object object = Napi::Object::New(a.env());
       object.Set("liveBytes", static_cast<double>(stats.liveBytes));
       object.Set("peakBytes", static_cast<double>(stats.peakBytes));
       object.Set("cachedBytes", static_cast<double>(stats.cachedBytes));
       object.Set("limitBytes", static_cast<double>(stats.limitBytes));
       object.Set("systemAllocations", static_cast<double>(stats.systemAllocations));
       return object;
     }},
    {"resetPeakMemory",
     [](const Arguments& a) -> Napi::Value {
       a.device(0, "device").allocator().resetPeak();
       return a.nothing();
     }},
    {"setMemoryLimit",
     [](const Arguments& a) -> Napi::Value {
       const int64_t bytes = a.integer(1, "bytes");
       if (bytes < 0) throw Error(ErrorCode::invalidArgument, "setMemoryLimit: bytes is " + std::to_string(bytes) + "; expected not negative.");
       a.device(0, "device").allocator().setLimit(bytes);
       return a.nothing();
     }},
    {"trimMemory",
     [](const Arguments& a) -> Napi::Value {
       a.device(0, "device").allocator().trim();
       return a.nothing();
     }},
};

}  // namespace

void addDeviceExports(Napi::Env env, Napi::Object exports) { addExports(env, exports, kExports); }

}  // namespace repa::addon
