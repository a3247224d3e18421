#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <string>

#include "native/core/result.h"

namespace meshstor {

/// What a child process says about its one piece of work.
struct ChildReport {
  /// 0, or the errno of the call that failed.
  int err = 0;
  /// That call, as a string literal: parent and child share one image, so the pointer means the same in both.
  const char* syscall = "";
  /// Numbers that the work found out; their meaning is the caller's.
  uint64_t values[6] = {};
};

/// Work for a child. It runs between fork and _exit of a process with many threads: only async-signal-safe calls, no
/// allocation, no locks; everything it needs is captured beforehand. It closes what it opens, so that nothing is left
/// that could block once it has reported.
using ChildBody = std::function<ChildReport()>;

/// Does work that can hang for ever in the kernel (unmount of a dead device, freeze, a write to md while a member's
/// path is queueing) in a child process and waits at most `limit` for its report. A child that is stuck cannot be
/// killed, but it holds neither a thread of the pool nor any descriptor of this process (the node lock!); it is killed
/// with the thread that started it if that ends first.
///
/// At most one child runs per `key`: a call while one is still at work waits for that one, and takes its report.
/// Errors: that of the report; ETIMEDOUT when the limit passed; ECANCELED when the child died without a report;
/// EAGAIN, ENOMEM when there can be no child. `path` goes into the error.
Result<ChildReport> RunInChild(const std::string& key, std::chrono::milliseconds limit, const std::string& path,
                               const ChildBody& body);

/// As RunInChild, for work that only succeeds or fails.
Status DoInChild(const std::string& key, std::chrono::milliseconds limit, const std::string& path,
                 const ChildBody& body);

/// A report about a call: pass what it returned; `errno` is taken when that is negative. For the use of bodies.
ChildReport ReportOf(long result, const char* syscall);

}  // namespace meshstor
