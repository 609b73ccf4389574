// Fibers: stacks of their own and a switch between them.
#pragma once

#include <cstddef>

#include "simt/sanitizer.h"

namespace repa::simt {

/// A place to switch to: a fiber, or the host thread that runs the scheduler.
struct Context {
  void* stackPointer = nullptr;
  const void* stackBottom = nullptr;
  size_t stackSize = 0;
  void* tsanFiber = nullptr;
  void* asanFakeStack = nullptr;
};

/// Saves the running context in `from` and continues `to`.
void switchContext(Context& from, Context& to);

/// The first thing that a new fiber's entry does.
void finishFirstSwitch();

/// Makes `fiber` start at `entry`, which never returns, when it is next switched to. Keeps its stack if it has one.
void prepareFiber(Context& fiber, void (*entry)());

/// Fills in what the sanitizers need to know of the host thread that calls.
void adoptHostThread(Context& host);

/// For ThreadSanitizer: what the stopped `fiber` did comes before what those do who acquire `object`.
void releaseAs(Context& fiber, Context& host, void* object);

}  // namespace repa::simt
