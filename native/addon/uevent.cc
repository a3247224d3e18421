#include "native/core/uevent.h"

#include <napi.h>

#include <memory>
#include <utility>

#include "native/addon/args.h"
#include "native/addon/errno_worker.h"
#include "native/addon/register.h"

namespace meshstor {
namespace {

using Events = std::vector<KernelEvent>;

Napi::Value EventToJs(Napi::Env env, const KernelEvent& event) {
  auto js = Napi::Object::New(env);
  js.Set("source", Js(env, event.source == KernelEvent::Source::kMd ? "md" : "uevent"));
  js.Set("action", Js(env, event.action));
  js.Set("device", Js(env, event.device));
  return js;
}

/// A watcher and the way back to the event loop. It runs until `stop` or the end of the environment, also when nobody
/// holds the returned object any more.
class Watch : public std::enable_shared_from_this<Watch> {
 public:
  explicit Watch(Napi::Function callback)
      : function_(Napi::ThreadSafeFunction::New(callback.Env(), callback, "meshstor.watch", 0, 1)) {
    // Watching alone is no reason for the process to go on.
    function_.Unref(callback.Env());
  }

  Status Start() {
    auto started = KernelWatcher::Start(Sysfs(RealSyscalls()), [this](Events events) { Deliver(std::move(events)); });
    if (!started.ok()) {
      Stop();
      return started.error();
    }
    watcher_ = std::move(started).value();
    return Ok();
  }

  /// A process that ends without `stop` must not keep a thread that calls into an environment which is gone.
  void StopWithEnvironment(Napi::Env env) {
    env_ = env;
    self_ = shared_from_this();
    napi_add_env_cleanup_hook(env_, AtEnvironmentEnd, this);
  }

  void Stop() {
    if (stopped_) return;
    stopped_ = true;
    watcher_.reset();  // joins: nothing is delivered from here on
    function_.Release();
    if (env_ != nullptr) napi_remove_env_cleanup_hook(env_, AtEnvironmentEnd, this);
    self_.reset();
  }

 private:
  /// On the watcher's thread. What is still queued when `stop` is called is thrown away on the event loop.
  void Deliver(Events events) {
    auto* batch = new Batch{std::move(events), weak_from_this()};
    const napi_status queued = function_.NonBlockingCall(batch, CallBack);
    if (queued != napi_ok) delete batch;
  }

  struct Batch {
    Events events;
    std::weak_ptr<Watch> watch;
  };

  static void AtEnvironmentEnd(void* data) {
    const std::shared_ptr<Watch> watch = static_cast<Watch*>(data)->shared_from_this();
    watch->env_ = nullptr;
    watch->Stop();
  }

  static void CallBack(Napi::Env env, Napi::Function callback, Batch* raw) {
    const std::unique_ptr<Batch> batch(raw);
    const std::shared_ptr<Watch> watch = batch->watch.lock();
    if (static_cast<napi_env>(env) == nullptr || watch == nullptr || watch->stopped_) return;
    callback.Call({JsArray(env, batch->events, EventToJs)});
  }

  Napi::ThreadSafeFunction function_;
  std::unique_ptr<KernelWatcher> watcher_;
  // Event loop only.
  bool stopped_ = false;
  napi_env env_ = nullptr;
  std::shared_ptr<Watch> self_;
};

/// (onEvents): returns `{ stop() }`.
Napi::Value WatchKernel(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (!info[0].IsFunction()) ThrowExpected(env, "onEvents", "a function");
  auto watch = std::make_shared<Watch>(info[0].As<Napi::Function>());
  auto started = watch->Start();
  if (!started.ok()) throw MakeErrnoError(env, started.error());
  auto handle = Napi::Object::New(env);
  handle.Set("stop", Napi::Function::New(
                         env,
                         [watch](const Napi::CallbackInfo&) {
                           // Stopping may drop this very function, and with it its own reference.
                           // NOLINTNEXTLINE(performance-unnecessary-copy-initialization)
                           const std::shared_ptr<Watch> held = watch;
                           held->Stop();
                         },
                         "stop"));
  watch->StopWithEnvironment(env);
  return handle;
}

}  // namespace

void RegisterUevent(Napi::Env env, Napi::Object exports) {
  exports.Set("watch", Napi::Function::New(env, WatchKernel, "watch"));
}

}  // namespace meshstor
