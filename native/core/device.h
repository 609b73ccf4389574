// A device is an in-order queue with memory: work is checked and enqueued by the caller's thread and runs later, in order.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/allocator.h"
#include "core/error.h"
#include "core/thread_pool.h"

namespace repa {

/// What the operations of one name have cost.
struct OperationCost {
  int64_t calls = 0;
  double seconds = 0;
};

class Device {
 public:
  virtual ~Device() = default;

  /// "cpu" or "cuda:0".
  virtual std::string name() const = 0;
  virtual Allocator& allocator() = 0;

  /// Copies host bytes that stay valid only during the call.
  virtual void upload(void* to, const void* from, int64_t bytes) = 0;
  /// Copies to host memory that `done` and the caller keep alive; `done(failure)` runs on the device's thread, `failure` empty on success.
  virtual void download(void* to, const void* from, int64_t bytes, std::function<void(const std::string& failure)> done) = 0;
  /// Calls `done` once everything enqueued so far has run.
  virtual void whenIdle(std::function<void(const std::string& failure)> done) = 0;
  /// Begins to add up what each operation costs, from zero; or ends it. What is enqueued already may count on either side.
  virtual void profile(bool on) = 0;
  /// Costs by operation since profile(true).
  virtual std::map<std::string, OperationCost> costs() = 0;
  /// Marks the device failed with a sentence, unless it is already: later work is left out and every wait is told, until reset().
  virtual void fail(const std::string& sentence) = 0;
  /// Forgets a failure, so that the device can be used again.
  virtual void reset() = 0;

  /// Whether products of f32 matrices that are enqueued from here on may round their operands to tf32's 10 bits of significand, for the
  /// tensor cores' sake; at first they may not. A device that has none throws Error(device) where it is turned on.
  virtual void allowTf32(bool on) {
    if (on) throw Error(ErrorCode::device, "Products cannot be made in tf32 on " + name() + "; only a GPU's tensor cores make them.");
  }

  /// From here to endCapture(), operations are recorded instead of run, with memory of their own: a step that is captured once
  /// and replayed costs the host one call. Nothing may be uploaded, read or waited for meanwhile. A device without such a thing
  /// throws Error(device).
  virtual void beginCapture() { throw Error(ErrorCode::device, "A step cannot be captured on " + name() + "; only a GPU has graphs."); }
  /// The graph's number. Throws what went wrong while capturing; then there is no graph, and nothing has run.
  virtual int64_t endCapture() { throw Error(ErrorCode::device, "There is no capture on " + name() + " to end."); }
  /// Enqueues everything that the graph holds.
  virtual void launchGraph(int64_t graph) { throw Error(ErrorCode::device, "There is no graph " + std::to_string(graph) + " on " + name() + "."); }
  /// Its memory becomes ordinary once what is enqueued has run.
  virtual void destroyGraph(int64_t) {}
};

}  // namespace repa
