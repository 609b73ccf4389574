// Devices: what there is, waiting, memory.
#include "addon/exports.h"
#include "addon/families.h"
#include "addon/promise.h"
#include "core/cpu_device.h"
#include "cpu/level.h"

namespace repa::addon {

namespace {

const Export kExports[] = {
    {"cpuInfo",
     [](const Arguments& a) -> Napi::Value {
       Napi::Object info = Napi::Object::New(a.env());
       info.Set("level", cpu::cpuLevelName(cpu::cpuLevel()));
       info.Set("threads", CpuDevice::instance().threads());
       return info;
     }},
    {"synchronize",
     [](const Arguments& a) -> Napi::Value {
       Device& device = a.device(0, "device");
       return promise(a.env(), "repa.synchronize", [&device](auto done) { device.whenIdle(std::move(done)); },
                      [](Napi::Env env) -> Napi::Value { return env.Undefined(); });
     }},
    {"resetDevice",
     [](const Arguments& a) -> Napi::Value {
       a.device(0, "device").reset();
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
       a.device(0, "device").allocator().setLimit(a.integer(1, "bytes"));
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
