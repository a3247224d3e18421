#include "native/core/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <set>

#include "native/core/sysfs.h"

// Older headers of the C library do not have it.
#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace meshstor {
namespace {

constexpr int kThreadWaitMs = 5000;
constexpr int kMaxRounds = 100;

std::atomic<int> answered_threads{0};

/// Runs on the thread that is meant; only async-signal-safe calls.
void FlagThisThread(int) {
  const int err = errno;
  ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  errno = err;
  answered_threads.fetch_add(1);
}

/// A real-time signal that nobody in the process has a handler for; 0 when there is none.
int FreeSignal() {
  for (int candidate = SIGRTMAX; candidate >= SIGRTMIN; --candidate) {
    struct sigaction current = {};
    if (::sigaction(candidate, nullptr, &current) == 0 && current.sa_handler == SIG_DFL) return candidate;
  }
  return 0;
}

/// True for a thread that does not take the signal: it will not answer. Node has one, which only waits for SIGUSR1.
bool Blocks(const Sysfs& proc, const std::string& thread, int signal) {
  for (const std::string& line : SplitLines(proc.ReadOr("/proc/self/task/" + thread + "/status", ""))) {
    if (line.rfind("SigBlk:", 0) == 0) return ((std::stoull(line.substr(7), nullptr, 16) >> (signal - 1)) & 1) != 0;
  }
  return false;
}

/// Signals every thread that has not been told yet; gives the number of those that will answer.
int TellNewThreads(const Sysfs& proc, int signal, std::set<std::string>* told) {
  int count = 0;
  for (const std::string& thread : proc.ListOrEmpty("/proc/self/task")) {
    if (!told->insert(thread).second) continue;
    const bool blocks = Blocks(proc, thread, signal);
    const bool sent = ::syscall(SYS_tgkill, ::getpid(), static_cast<pid_t>(std::stol(thread)), signal) == 0;
    if (sent && !blocks) ++count;
  }
  return count;
}

}  // namespace

Status SetIoFlusher() {
  const int own = ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  const int err = errno;
  if (own != 0) return Failed(err, "prctl", {});
  const int signal = FreeSignal();
  if (signal == 0) return Failed(EBUSY, "sigaction", {}, "no real-time signal is free");
  struct sigaction action = {};
  action.sa_handler = FlagThisThread;
  action.sa_flags = SA_RESTART;
  ::sigfillset(&action.sa_mask);
  ::sigaction(signal, &action, nullptr);
  const Sysfs proc(RealSyscalls());
  std::set<std::string> told;
  answered_threads = 0;
  int expected = 0;
  // A thread that was not told yet may start others meanwhile: look until there are no new ones.
  for (int round = 0; round < kMaxRounds; ++round) {
    const int fresh = TellNewThreads(proc, signal, &told);
    expected += fresh;
    if (fresh == 0) break;
    for (int waited = 0; answered_threads < expected && waited < kThreadWaitMs; ++waited) ::poll(nullptr, 0, 1);
  }
  // The handler stays: a thread that has the signal blocked may take it later, and the default action would end the
  // process.
  return Ok();
}

Status AcquireNodeLock(Syscalls& sys, const std::string& path) {
  auto fd = OpenFile(sys, path, O_RDWR | O_CREAT, 0600);
  if (!fd.ok()) return fd.error();
  auto locked = FlockFd(sys, fd.value().get(), LOCK_EX | LOCK_NB, path);
  if (!locked.ok()) return locked;
  // Held until the process ends: nobody may give it back by mistake.
  static_cast<void>(fd.value().Release());
  return Ok();
}

}  // namespace meshstor
