#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace meshstor {

/// Why a call into the kernel failed. `err` is a positive errno value, copied on the line after the call that set it.
struct SysError {
  int err = 0;
  /// The system call (or ioctl request) that failed, in lower case, e.g. `open`, `ioctl BLKPG`.
  std::string syscall;
  /// What it was called on; empty when it is about nothing with a name.
  std::string path;
  /// What a person needs beyond errno; empty for "strerror says it all".
  std::string message;
};

/// The value of an operation that has nothing to say but that it succeeded.
struct Unit {};

/// A value, or the reason there is none. Never throws on construction; `value()` on an error is a programming fault.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}         // NOLINT(google-explicit-constructor)
  Result(SysError error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return state_.index() == 0; }
  const T& value() const& { return std::get<0>(state_); }
  T& value() & { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  const SysError& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, SysError> state_;
};

/// Success, or a SysError.
using Status = Result<Unit>;

inline Status Ok() { return Unit{}; }

}  // namespace meshstor
