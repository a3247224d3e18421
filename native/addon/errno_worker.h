#pragma once

#include <napi.h>
#include <uv.h>

#include <cerrno>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "native/core/result.h"

namespace meshstor {

/// Name of a positive errno: libuv's where it has one, else the C library's (libuv lacks EUCLEAN, EBADMSG and others).
inline std::string ErrnoName(int err) {
  char known[64] = {};
  uv_err_name_r(-err, known, sizeof(known));
  if (std::strncmp(known, "Unknown", 7) != 0) return known;
#ifdef __GLIBC__
  const char* name = ::strerrorname_np(err);
  if (name != nullptr) return name;
#endif
  return "E" + std::to_string(err);
}

/// The same shape as errors of node's fs: `errno` negative, `code` the errno's name, `syscall`, `path` where there is
/// one. Main thread only.
inline Napi::Error MakeErrnoError(Napi::Env env, const SysError& error) {
  const std::string code = ErrnoName(error.err);
  std::string text = code + ": " + (error.message.empty() ? std::string(std::strerror(error.err)) : error.message) +
                     ", " + error.syscall;
  if (!error.path.empty()) text += " '" + error.path + "'";
  Napi::Error js = Napi::Error::New(env, text);
  js.Set("errno", Napi::Number::New(env, -error.err));
  js.Set("code", Napi::String::New(env, code));
  js.Set("syscall", Napi::String::New(env, error.syscall));
  if (!error.path.empty()) js.Set("path", Napi::String::New(env, error.path));
  return js;
}

/// One piece of blocking work whose outcome becomes a promise. `Work` runs on a thread of the pool and must not touch
/// Napi; `ToJs` runs on the main thread. `Start` hands ownership to libuv: the object deletes itself.
template <typename T>
class ErrnoWorker : public Napi::AsyncWorker {
 public:
  explicit ErrnoWorker(Napi::Env env) : Napi::AsyncWorker(env), deferred_(Napi::Promise::Deferred::New(env)) {}

  Napi::Promise Start() {
    auto promise = deferred_.Promise();
    Queue();
    return promise;
  }

 protected:
  virtual Result<T> Work() = 0;
  virtual Napi::Value ToJs(Napi::Env env, const T& value) = 0;

  void Execute() final {
    auto result = Work();
    if (result.ok()) {
      value_ = std::move(result).value();
    } else {
      error_ = result.error();
    }
  }
  void OnOK() override {
    Settle([this] {
      if (error_.has_value()) {
        deferred_.Reject(MakeErrnoError(Env(), *error_).Value());
      } else {
        deferred_.Resolve(ToJs(Env(), *value_));
      }
    });
  }
  void OnError(const Napi::Error& error) override {
    Settle([this, &error] { deferred_.Reject(error.Value()); });
  }

 private:
  /// The environment may be going away (a worker thread that is terminated): then every call into JavaScript fails,
  /// nobody waits for the promise any more, and an exception that left this callback would end the process.
  template <typename F>
  void Settle(F settle) {
    try {
      settle();
    } catch (const Napi::Error& failure) {
      try {
        deferred_.Reject(failure.Value());
      } catch (const Napi::Error&) {
        return;
      }
    }
  }

  Napi::Promise::Deferred deferred_;
  std::optional<T> value_;
  std::optional<SysError> error_;
};

/// ErrnoWorker out of two functions: most features need no class of their own.
template <typename T>
class FunctionWorker final : public ErrnoWorker<T> {
 public:
  FunctionWorker(Napi::Env env, std::function<Result<T>()> work, std::function<Napi::Value(Napi::Env, const T&)> to_js)
      : ErrnoWorker<T>(env), work_(std::move(work)), to_js_(std::move(to_js)) {}

 protected:
  Result<T> Work() override { return work_(); }
  Napi::Value ToJs(Napi::Env env, const T& value) override { return to_js_(env, value); }

 private:
  std::function<Result<T>()> work_;
  std::function<Napi::Value(Napi::Env, const T&)> to_js_;
};

/// As FunctionWorker, on a thread of its own: for work that may hang for as long as a drive does. It takes no thread of
/// the pool, and nothing waits for the thread: the process and the environment may end while it hangs. (One that is
/// stuck inside the kernel still delays the removal of the process, as any such thread does.)
template <typename T>
class ThreadWorker {
 public:
  static Napi::Promise Start(Napi::Env env, std::function<Result<T>()> work,
                             std::function<Napi::Value(Napi::Env, const T&)> to_js) {
    auto shared = std::make_shared<Shared>(env, std::move(to_js));
    auto held = std::make_unique<std::shared_ptr<Shared>>(shared);
    const napi_status made =
        napi_create_threadsafe_function(env, nullptr, nullptr, Napi::String::New(env, "meshstor.thread"), 0, 1,
                                        held.get(), AtFunctionEnd, shared.get(), Settle, &shared->function);
    if (made != napi_ok) throw Napi::Error::New(env);
    (void)held.release();  // AtFunctionEnd takes it.
    try {
      std::thread([shared, work = std::move(work)] { Deliver(*shared, Outcome(work)); }).detach();
    } catch (const std::system_error& failure) {
      Deliver(*shared, SysError{failure.code().value(), "clone", "", ""});
    }
    return shared->deferred.Promise();
  }

 private:
  struct Shared {
    Shared(Napi::Env env, std::function<Napi::Value(Napi::Env, const T&)> to_js_value)
        : deferred(Napi::Promise::Deferred::New(env)), to_js(std::move(to_js_value)) {}

    Napi::Promise::Deferred deferred;
    std::function<Napi::Value(Napi::Env, const T&)> to_js;
    /// Guards `function`, which may be used by the thread only while it is not gone: Node deletes it with the
    /// environment, whoever still has a thread for it.
    std::mutex mutex;
    bool gone = false;
    napi_threadsafe_function function = nullptr;
    std::optional<Result<T>> outcome;
  };

  static Result<T> Outcome(const std::function<Result<T>()>& work) {
    try {
      return work();
    } catch (const std::exception& failure) {
      return SysError{ENOMEM, "clone", "", failure.what()};
    }
  }

  static void Deliver(Shared& shared, Result<T> outcome) {
    const std::lock_guard<std::mutex> lock(shared.mutex);
    if (shared.gone) return;
    shared.outcome = std::move(outcome);
    const napi_status queued = napi_call_threadsafe_function(shared.function, nullptr, napi_tsfn_nonblocking);
    // A function that is closing has let go of this thread with that answer.
    if (queued != napi_closing) napi_release_threadsafe_function(shared.function, napi_tsfn_release);
  }

  /// On the event loop. `env` is null when the environment is going away: then nobody waits.
  static void Settle(napi_env raw, napi_value, void* context, void*) {
    if (raw == nullptr) return;
    auto& shared = *static_cast<Shared*>(context);
    const Napi::Env env(raw);
    try {
      if (!shared.outcome->ok()) {
        shared.deferred.Reject(MakeErrnoError(env, shared.outcome->error()).Value());
      } else {
        shared.deferred.Resolve(shared.to_js(env, shared.outcome->value()));
      }
    } catch (const Napi::Error&) {
      return;  // The environment is going away.
    }
  }

  static void AtFunctionEnd(napi_env, void* data, void*) {
    const std::unique_ptr<std::shared_ptr<Shared>> held(static_cast<std::shared_ptr<Shared>*>(data));
    const std::lock_guard<std::mutex> lock((*held)->mutex);
    (*held)->gone = true;
  }
};

/// Runs `work` on the pool; the promise resolves with what `to_js` makes of its value. `work` owns copies of its
/// inputs.
template <typename T>
Napi::Value RunAsync(Napi::Env env, std::function<Result<T>()> work,
                     std::function<Napi::Value(Napi::Env, const T&)> to_js) {
  return (new FunctionWorker<T>(env, std::move(work), std::move(to_js)))->Start();
}

/// As above for work without a value; resolves with undefined.
inline Napi::Value RunAsync(Napi::Env env, std::function<Status()> work) {
  return RunAsync<Unit>(env, std::move(work), [](Napi::Env e, const Unit&) { return e.Undefined(); });
}

/// As RunAsync for work without a value, on a thread of its own.
inline Napi::Value RunOnThread(Napi::Env env, std::function<Status()> work) {
  return ThreadWorker<Unit>::Start(env, std::move(work), [](Napi::Env e, const Unit&) { return e.Undefined(); });
}

}  // namespace meshstor
