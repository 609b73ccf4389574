// How the shim says that a kernel is wrong: the launch is unwound, a sentence is recorded, the device stays failed.
#pragma once

#include <string>

#include "simt/place.h"

namespace repa::simt {

/// Ends the launch that the calling CUDA thread belongs to, by an exception that unwinds the thread. The launch's other threads are left
/// where they stand.
[[noreturn]] void fail(const Place& place, const std::string& what);

/// The same from the scheduler, of which no CUDA thread is the cause.
[[noreturn]] void failLaunch(const std::string& what);

/// The device's failure, "" while there is none. It stays until reset().
std::string lastFailure();
void recordFailure(const std::string& sentence);
void clearFailure();

}  // namespace repa::simt
