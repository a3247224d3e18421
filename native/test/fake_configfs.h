#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "native/core/syscalls.h"

namespace meshstor {

/// configfs's nvmet tree played on a plain directory: attributes appear with a directory and go with it, links pin what
/// they lead to, and stores refuse what the kernel refuses. Everything else goes to the real kernel.
///
/// Each changing call is logged as `<call> <path below nvmet>`; the log is what order is asserted on. Usable from
/// several threads, but for the log, which is to be read when nothing runs.
class FakeConfigfs final : public Syscalls {
 public:
  /// Makes the empty tree below `root` (`/sys/kernel/config/nvmet/{hosts,ports,subsystems}`).
  explicit FakeConfigfs(std::string root);

  const std::vector<std::string>& log() const { return log_; }
  void ClearLog() { log_.clear(); }
  /// From now on `count` changing calls work and all later ones fail: what a killed process left behind stays.
  void DieAfter(size_t count) { calls_left_ = static_cast<long>(count); }
  void Revive() { calls_left_ = -1; }
  /// The logged call fails with this errno, as long as it is set.
  void FailOn(const std::string& call, int err) { faults_[call] = err; }
  void ClearFaults() { faults_.clear(); }
  /// The logged call does not come back until it is let go.
  void HangOn(const std::string& call);
  /// True once something hangs in the call; gives up after 10 s.
  bool AwaitHang(const std::string& call);
  void LetGo(const std::string& call);
  /// Runs after every changing call that worked.
  void OnChange(std::function<void()> action) { on_change_ = std::move(action); }

  int Open(const char* path, int flags, mode_t mode) override;
  int Close(int fd) override;
  ssize_t Read(int fd, void* data, size_t length) override;
  ssize_t Write(int fd, const void* data, size_t length) override;
  ssize_t Pread(int fd, void* data, size_t length, off_t offset) override;
  ssize_t Pwrite(int fd, const void* data, size_t length, off_t offset) override;
  int Fsync(int fd) override;
  int Flock(int fd, int operation) override;
  int Ioctl(int fd, unsigned long request, void* argument) override;
  int Fstat(int fd, struct stat* out) override;
  int Stat(const char* path, struct stat* out) override;
  int Lstat(const char* path, struct stat* out) override;
  int Statfs(const char* path, struct statfs* out) override;
  int Mount(const char* source, const char* target, const char* type, unsigned long flags, const void* data) override;
  int Umount2(const char* target, int flags) override;
  int Mkdir(const char* path, mode_t mode) override;
  int Rmdir(const char* path) override;
  int Symlink(const char* target, const char* link_path) override;
  ssize_t Readlink(const char* path, char* buffer, size_t size) override;
  int Unlink(const char* path) override;
  int Mknod(const char* path, mode_t mode, dev_t device) override;
  int Poll(struct pollfd* fds, nfds_t count, int timeout_ms) override;
  int Socket(int domain, int type, int protocol) override;
  int Bind(int fd, const struct sockaddr* address, socklen_t length) override;
  ssize_t Recv(int fd, void* data, size_t length, int flags) override;

 private:
  /// Waits here while the call is to hang. True when it may happen; otherwise errno is set.
  bool Admit(const std::string& call);
  void Changed();
  /// Path below nvmet; empty for one that lies elsewhere.
  std::string Below(const std::string& path) const;
  int StoreError(const std::string& path) const;
  int RmdirError(const std::string& path) const;
  std::string PathOf(int fd);
  bool IsLinked(const std::string& target) const;

  std::string nvmet_;
  /// Guards all below; recursive, since what runs after a change makes calls too.
  std::recursive_mutex mutex_;
  std::condition_variable_any hanging_changed_;
  std::set<std::string> to_hang_;
  std::set<std::string> hanging_;
  std::vector<std::string> log_;
  std::map<int, std::string> open_;
  std::map<std::string, int> faults_;
  std::function<void()> on_change_;
  long calls_left_ = -1;
};

}  // namespace meshstor
