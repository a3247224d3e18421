#pragma once

#include <deque>
#include <functional>
#include <set>
#include <string>

#include "native/core/syscalls.h"

namespace meshstor {

/// A kernel that follows a script: every call must be the next expected one, and every expected one must be made.
///
///   ScriptedSyscalls sys;
///   sys.Expect("open", "/dev/nvme0").Return(7);
///   sys.Expect("ioctl", "0xc0484e41").Fail(EINTR);
///   sys.Expect("ioctl").With([](void* data, size_t) { … check or fill the argument … }).Return(0);
///
/// `detail` is the path for calls that take one, `0x<request>` for ioctl, the byte offset for pread/pwrite, the
/// operation number for flock; an empty detail matches anything. `close` needs no script: it is checked that exactly
/// the descriptors which were opened are closed by the end.
class ScriptedSyscalls final : public Syscalls {
 public:
  class Step {
   public:
    /// The call succeeds with this value.
    Step& Return(long value);
    /// The call returns -1 with this errno.
    Step& Fail(int err);
    /// Sees the call's buffer or structure before it returns (to check what was passed, or to fill the reply). `length`
    /// is 0 for ioctl.
    Step& With(std::function<void(void* data, size_t length)> action);

   private:
    friend class ScriptedSyscalls;
    std::string name_;
    std::string detail_;
    long value_ = 0;
    int err_ = 0;
    std::function<void(void*, size_t)> action_;
  };

  ScriptedSyscalls() = default;
  ~ScriptedSyscalls() override;

  /// Adds a step to the end of the script. The reference is good until the script is run.
  Step& Expect(std::string name, std::string detail = {});

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
  long Play(const std::string& name, const std::string& detail, void* data, size_t length);

  std::deque<Step> script_;
  std::multiset<int> open_;
};

}  // namespace meshstor
