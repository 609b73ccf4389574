#include "addon/promise.h"

#include <exception>
#include <memory>
#include <mutex>

#include "addon/exports.h"

namespace repa::addon {

namespace {

/// The way from the device's thread to a JS environment, which may end at any time (worker.terminate()): its finalizer
/// closes the way, and nobody touches the function afterwards. Node frees it then, also while another thread may call it.
struct Way {
  std::mutex mutex;
  bool open = true;
  Napi::ThreadSafeFunction function;
};

}  // namespace

Napi::Value promise(Napi::Env env, const char* operation, std::function<void(std::function<void(const std::string&)> done)> start, MakeValue makeValue) {
  struct Pending {
    Napi::Promise::Deferred deferred;
    MakeValue makeValue;
  };
  auto* pending = new Pending{Napi::Promise::Deferred::New(env), std::move(makeValue)};
  const Napi::Promise result = pending->deferred.Promise();

  const auto way = std::make_shared<Way>();
  way->function = Napi::ThreadSafeFunction::New(env, Napi::Function(), std::string("repa.") + operation, 0, 1, [way, pending](Napi::Env) {
    const std::lock_guard lock(way->mutex);
    way->open = false;
    delete pending;
  });
  const auto settle = [pending, way, operation](const std::string& failure) {
    const std::lock_guard lock(way->mutex);
    if (!way->open) return;
    auto message = std::make_unique<std::string>(failure);
    const napi_status status = way->function.BlockingCall(message.get(), [pending, operation](Napi::Env jsEnv, Napi::Function, std::string* text) {
      const std::unique_ptr<std::string> owned(text);
      if (jsEnv == nullptr) return;
      try {
        const Napi::HandleScope scope(jsEnv);
        if (!owned->empty()) return pending->deferred.Reject(toJsError(jsEnv, ErrorCode::failed, *owned).Value());
        try {
          pending->deferred.Resolve(pending->makeValue(jsEnv));
        } catch (const Napi::Error& error) {
          pending->deferred.Reject(error.Value());
        } catch (...) {
          pending->deferred.Reject(toJsError(jsEnv, operation, std::current_exception()).Value());
        }
      } catch (const Napi::Error&) {
        // An environment that is being terminated takes no more values, and nobody waits for them.
      }
    });
    if (status == napi_ok) {
      message.release();
      way->function.Release();
    }
  };
  try {
    start(settle);
  } catch (...) {
    // Nobody will settle it, and the way, open, would keep the event loop alive for good.
    way->function.Release();
    throw;
  }
  return result;
}

}  // namespace repa::addon
