#include "addon/promise.h"

#include <memory>

#include "addon/exports.h"

namespace repa::addon {

Napi::Value promise(Napi::Env env, const char* name, std::function<void(std::function<void(const std::string&)> done)> start, MakeValue makeValue) {
  struct Pending {
    Napi::Promise::Deferred deferred;
    MakeValue makeValue;
  };
  auto* pending = new Pending{Napi::Promise::Deferred::New(env), std::move(makeValue)};
  const Napi::Promise result = pending->deferred.Promise();

  auto function = Napi::ThreadSafeFunction::New(env, Napi::Function(), name, 0, 1, [pending](Napi::Env) { delete pending; });
  start([pending, function](const std::string& failure) mutable {
    // The environment may have ended: then the call is refused, the finalizer has freed `pending` or will, and nobody waits.
    auto message = std::make_unique<std::string>(failure);
    const napi_status status = function.BlockingCall(message.get(), [pending](Napi::Env jsEnv, Napi::Function, std::string* text) {
      const std::unique_ptr<std::string> owned(text);
      if (jsEnv == nullptr) return;
      const Napi::HandleScope scope(jsEnv);
      if (!owned->empty()) {
        pending->deferred.Reject(toJsError(jsEnv, ErrorCode::failed, *owned).Value());
        return;
      }
      try {
        pending->deferred.Resolve(pending->makeValue(jsEnv));
      } catch (const Napi::Error& error) {
        pending->deferred.Reject(error.Value());
      }
    });
    if (status == napi_ok) {
      message.release();
      function.Release();
    }
  });
  return result;
}

}  // namespace repa::addon
