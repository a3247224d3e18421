#pragma once

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "native/core/result.h"

namespace meshstor {

/// The one way from the core to the kernel, so that tests can script every reply.
///
/// Every method is the bare system call of the same name: it returns -1 and sets `errno` on failure, does not retry and
/// does not log. Callers use the helpers below, which retry EINTR and return a Result.
class Syscalls {
 public:
  virtual ~Syscalls() = default;

  virtual int Open(const char* path, int flags, mode_t mode) = 0;
  virtual int Close(int fd) = 0;
  virtual ssize_t Read(int fd, void* data, size_t length) = 0;
  virtual ssize_t Write(int fd, const void* data, size_t length) = 0;
  virtual ssize_t Pread(int fd, void* data, size_t length, off_t offset) = 0;
  virtual ssize_t Pwrite(int fd, const void* data, size_t length, off_t offset) = 0;
  virtual int Fsync(int fd) = 0;
  virtual int Flock(int fd, int operation) = 0;
  virtual int Ioctl(int fd, unsigned long request, void* argument) = 0;
  virtual int Fstat(int fd, struct stat* out) = 0;
  virtual int Stat(const char* path, struct stat* out) = 0;
  virtual int Lstat(const char* path, struct stat* out) = 0;
  virtual int Statfs(const char* path, struct statfs* out) = 0;
  virtual int Mount(const char* source, const char* target, const char* type, unsigned long flags,
                    const void* data) = 0;
  virtual int Umount2(const char* target, int flags) = 0;
  virtual int Mkdir(const char* path, mode_t mode) = 0;
  virtual int Rmdir(const char* path) = 0;
  virtual int Symlink(const char* target, const char* link_path) = 0;
  virtual ssize_t Readlink(const char* path, char* buffer, size_t size) = 0;
  virtual int Unlink(const char* path) = 0;
  virtual int Mknod(const char* path, mode_t mode, dev_t device) = 0;
  virtual int Poll(struct pollfd* fds, nfds_t count, int timeout_ms) = 0;
  virtual int Socket(int domain, int type, int protocol) = 0;
  virtual int Bind(int fd, const struct sockaddr* address, socklen_t length) = 0;
  virtual ssize_t Recv(int fd, void* data, size_t length, int flags) = 0;
};

/// The kernel itself. Thread-safe: it has no state.
Syscalls& RealSyscalls();

/// Makes a SysError; call it with `errno` right after the failing call, before anything else runs.
SysError Failed(int err, std::string syscall, std::string path, std::string message = {});

/// An open file that closes itself through the seam it was opened with. Movable, not copyable.
class UniqueFd {
 public:
  UniqueFd() = default;
  UniqueFd(Syscalls& sys, int fd) : sys_(&sys), fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : sys_(other.sys_), fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  /// Gives up ownership without closing.
  int Release();
  /// Closes now. A failing close is not retried: on Linux the descriptor is gone either way.
  void Reset();

 private:
  Syscalls* sys_ = nullptr;
  int fd_ = -1;
};

/// open(2) with O_CLOEXEC always added, EINTR retried. Blocks as the file does (a device node may wait for its driver).
Result<UniqueFd> OpenFile(Syscalls& sys, const std::string& path, int flags, mode_t mode = 0);

/// ioctl(2), EINTR retried; returns the call's non-negative result. `name` is used in the error: `ioctl <name>`.
/// The caller zeroes the argument structure before filling it.
Result<int> IoctlFd(Syscalls& sys, int fd, unsigned long request, void* argument, const char* name,
                    const std::string& path);

/// Reads exactly `length` bytes at `offset`; short reads continue. End of file before that is EIO.
Status PreadFull(Syscalls& sys, int fd, void* data, size_t length, uint64_t offset, const std::string& path);

/// Writes exactly `length` bytes at `offset`; short writes continue. A write of 0 bytes is EIO.
Status PwriteFull(Syscalls& sys, int fd, const void* data, size_t length, uint64_t offset, const std::string& path);

/// Reads to the end of file, at most `limit` bytes (more is EFBIG). For sysfs, procfs and small files.
Result<std::string> ReadToEnd(Syscalls& sys, int fd, size_t limit, const std::string& path);

/// One write(2) of the whole text: sysfs and configfs attributes take their value in a single call. A short write is
/// EIO.
Status WriteOnce(Syscalls& sys, int fd, const std::string& text, const std::string& path);

/// fsync(2), EINTR retried.
Status FsyncFd(Syscalls& sys, int fd, const std::string& path);

/// flock(2), EINTR retried. Blocks unless LOCK_NB is given (then EWOULDBLOCK).
Status FlockFd(Syscalls& sys, int fd, int operation, const std::string& path);

}  // namespace meshstor
