#pragma once

#include <napi.h>
#include <uv.h>

#include <cstring>
#include <functional>
#include <optional>
#include <string>
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

}  // namespace meshstor
