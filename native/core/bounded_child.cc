#include "native/core/bounded_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "native/core/syscalls.h"

namespace meshstor {
namespace {

using Clock = std::chrono::steady_clock;

/// A child that was started and what came of it. The pipe is readable once the child has reported or died.
struct Child {
  pid_t pid = -1;
  UniqueFd pipe;
  std::mutex mutex;  // guards what follows
  bool collected = false;
  bool reported = false;
  ChildReport report;
};

std::mutex& RegistryMutex() {
  static std::mutex mutex;
  return mutex;
}

/// Children at work by key. Never destroyed: pool threads may still use it while the process exits.
std::map<std::string, std::shared_ptr<Child>>& Registry() {
  static auto* registry = new std::map<std::string, std::shared_ptr<Child>>();
  return *registry;
}

/// True once the child has reported or died; then its report is in place and it is reaped.
bool Collect(Child& child, int wait_ms) {
  struct pollfd ready = {child.pipe.get(), POLLIN, 0};
  if (::poll(&ready, 1, wait_ms) <= 0) return false;
  const std::lock_guard<std::mutex> lock(child.mutex);
  if (child.collected) return true;
  ssize_t count;
  do {
    count = ::read(child.pipe.get(), &child.report, sizeof(child.report));
  } while (count < 0 && errno == EINTR);
  child.reported = count == static_cast<ssize_t>(sizeof(child.report));
  while (::waitpid(child.pid, nullptr, 0) < 0 && errno == EINTR) {
  }
  child.collected = true;
  return true;
}

/// The child's side: drops everything that belongs to the parent, works, reports, ends.
[[noreturn]] void RunChild(int report_fd, pid_t parent, const ChildBody& body) {
  // Dies with its parent instead of acting on after a new process has looked at the kernel's state.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (::getppid() != parent) ::_exit(1);
  if (::dup2(report_fd, 0) < 0) ::_exit(1);
  // A stuck child must not keep the sockets, the node lock or the devices of its parent open.
  if (::syscall(SYS_close_range, 1U, ~0U, 0U) != 0) ::_exit(1);
  const ChildReport report = body();
  const ssize_t written = ::write(0, &report, sizeof(report));
  ::_exit(written == static_cast<ssize_t>(sizeof(report)) ? 0 : 1);
}

Result<std::shared_ptr<Child>> StartChild(const std::string& path, const ChildBody& body) {
  int ends[2];
  const int piped = ::pipe2(ends, O_CLOEXEC);
  const int pipe_err = errno;
  if (piped != 0) return Failed(pipe_err, "pipe2", path);
  auto child = std::make_shared<Child>();
  child->pipe = UniqueFd(RealSyscalls(), ends[0]);
  const UniqueFd report_end(RealSyscalls(), ends[1]);

  // The event loop's signal handlers write to a pipe that the child would share: it gets no signal at all.
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t parent = ::getpid();
  const pid_t pid = ::_Fork();
  const int fork_err = errno;
  if (pid == 0) RunChild(report_end.get(), parent, body);
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) return Failed(fork_err, "fork", path);
  child->pid = pid;
  return child;
}

/// The child at work for this key, or a new one. Children that have ended meanwhile are forgotten on the way.
Result<std::shared_ptr<Child>> FindOrStart(const std::string& key, const std::string& path, const ChildBody& body) {
  const std::lock_guard<std::mutex> lock(RegistryMutex());
  auto& registry = Registry();
  for (auto at = registry.begin(); at != registry.end();) {
    at = Collect(*at->second, 0) ? registry.erase(at) : std::next(at);
  }
  const auto known = registry.find(key);
  if (known != registry.end()) return known->second;
  auto started = StartChild(path, body);
  if (started.ok()) registry.emplace(key, started.value());
  return started;
}

}  // namespace

ChildReport ReportOf(long result, const char* syscall) {
  const int err = errno;
  ChildReport report;
  report.err = result < 0 ? err : 0;
  report.syscall = syscall;
  return report;
}

Result<ChildReport> RunInChild(const std::string& key, std::chrono::milliseconds limit, const std::string& path,
                               const ChildBody& body) {
  const Clock::time_point deadline = Clock::now() + limit;
  auto found = FindOrStart(key, path, body);
  if (!found.ok()) return found.error();
  Child& child = *found.value();
  for (bool ended = false; !ended;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    ended = Collect(child, static_cast<int>(std::clamp<int64_t>(left, 0, 1 << 30)));
    if (!ended && left <= 0) {
      return Failed(ETIMEDOUT, key.substr(0, key.find(' ')), path,
                    "no answer in " + std::to_string(limit.count()) + " ms");
    }
  }
  if (!child.reported) return Failed(ECANCELED, key.substr(0, key.find(' ')), path, "the child that did it was killed");
  if (child.report.err != 0) return Failed(child.report.err, child.report.syscall, path);
  return child.report;
}

Status DoInChild(const std::string& key, std::chrono::milliseconds limit, const std::string& path,
                 const ChildBody& body) {
  auto report = RunInChild(key, limit, path, body);
  if (!report.ok()) return report.error();
  return Ok();
}

}  // namespace meshstor
