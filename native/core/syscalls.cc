#include "native/core/syscalls.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <utility>

namespace meshstor {
namespace {

class KernelSyscalls final : public Syscalls {
 public:
  int Open(const char* path, int flags, mode_t mode) override { return ::open(path, flags, mode); }
  int Close(int fd) override { return ::close(fd); }
  ssize_t Read(int fd, void* data, size_t length) override { return ::read(fd, data, length); }
  ssize_t Write(int fd, const void* data, size_t length) override { return ::write(fd, data, length); }
  ssize_t Pread(int fd, void* data, size_t length, off_t offset) override { return ::pread(fd, data, length, offset); }
  ssize_t Pwrite(int fd, const void* data, size_t length, off_t offset) override {
    return ::pwrite(fd, data, length, offset);
  }
  int Fsync(int fd) override { return ::fsync(fd); }
  int Flock(int fd, int operation) override { return ::flock(fd, operation); }
  int Ioctl(int fd, unsigned long request, void* argument) override { return ::ioctl(fd, request, argument); }
  int Fstat(int fd, struct stat* out) override { return ::fstat(fd, out); }
  int Stat(const char* path, struct stat* out) override { return ::stat(path, out); }
  int Lstat(const char* path, struct stat* out) override { return ::lstat(path, out); }
  int Statfs(const char* path, struct statfs* out) override { return ::statfs(path, out); }
  int Mount(const char* source, const char* target, const char* type, unsigned long flags, const void* data) override {
    return ::mount(source, target, type, flags, data);
  }
  int Umount2(const char* target, int flags) override { return ::umount2(target, flags); }
  int Mkdir(const char* path, mode_t mode) override { return ::mkdir(path, mode); }
  int Rmdir(const char* path) override { return ::rmdir(path); }
  int Symlink(const char* target, const char* link_path) override { return ::symlink(target, link_path); }
  ssize_t Readlink(const char* path, char* buffer, size_t size) override { return ::readlink(path, buffer, size); }
  int Unlink(const char* path) override { return ::unlink(path); }
  int Mknod(const char* path, mode_t mode, dev_t device) override { return ::mknod(path, mode, device); }
  int Poll(struct pollfd* fds, nfds_t count, int timeout_ms) override { return ::poll(fds, count, timeout_ms); }
  int Socket(int domain, int type, int protocol) override { return ::socket(domain, type, protocol); }
  int Bind(int fd, const struct sockaddr* address, socklen_t length) override { return ::bind(fd, address, length); }
  ssize_t Recv(int fd, void* data, size_t length, int flags) override { return ::recv(fd, data, length, flags); }
};

}  // namespace

Syscalls& RealSyscalls() {
  static KernelSyscalls instance;
  return instance;
}

SysError Failed(int err, std::string syscall, std::string path, std::string message) {
  return SysError{err, std::move(syscall), std::move(path), std::move(message)};
}

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    Reset();
    sys_ = other.sys_;
    fd_ = other.Release();
  }
  return *this;
}

int UniqueFd::Release() { return std::exchange(fd_, -1); }

void UniqueFd::Reset() {
  if (fd_ >= 0) sys_->Close(std::exchange(fd_, -1));
}

Result<UniqueFd> OpenFile(Syscalls& sys, const std::string& path, int flags, mode_t mode) {
  for (;;) {
    const int fd = sys.Open(path.c_str(), flags | O_CLOEXEC, mode);
    const int err = errno;
    if (fd >= 0) return UniqueFd(sys, fd);
    if (err != EINTR) return Failed(err, "open", path);
  }
}

Result<int> IoctlFd(Syscalls& sys, int fd, unsigned long request, void* argument, const char* name,
                    const std::string& path) {
  for (;;) {
    const int result = sys.Ioctl(fd, request, argument);
    const int err = errno;
    if (result >= 0) return result;
    if (err != EINTR) return Failed(err, std::string("ioctl ") + name, path);
  }
}

Status PreadFull(Syscalls& sys, int fd, void* data, size_t length, uint64_t offset, const std::string& path) {
  auto* cursor = static_cast<unsigned char*>(data);
  size_t done = 0;
  while (done < length) {
    const ssize_t count = sys.Pread(fd, cursor + done, length - done, static_cast<off_t>(offset + done));
    const int err = errno;
    if (count < 0 && err == EINTR) continue;
    if (count < 0) return Failed(err, "pread", path);
    if (count == 0) return Failed(EIO, "pread", path, "end of file at byte " + std::to_string(offset + done));
    done += static_cast<size_t>(count);
  }
  return Ok();
}

Status PwriteFull(Syscalls& sys, int fd, const void* data, size_t length, uint64_t offset, const std::string& path) {
  const auto* cursor = static_cast<const unsigned char*>(data);
  size_t done = 0;
  while (done < length) {
    const ssize_t count = sys.Pwrite(fd, cursor + done, length - done, static_cast<off_t>(offset + done));
    const int err = errno;
    if (count < 0 && err == EINTR) continue;
    if (count < 0) return Failed(err, "pwrite", path);
    if (count == 0) return Failed(EIO, "pwrite", path, "nothing written at byte " + std::to_string(offset + done));
    done += static_cast<size_t>(count);
  }
  return Ok();
}

Result<std::string> ReadToEnd(Syscalls& sys, int fd, size_t limit, const std::string& path) {
  std::string text;
  char chunk[4096];
  for (;;) {
    const ssize_t count = sys.Read(fd, chunk, sizeof(chunk));
    const int err = errno;
    if (count < 0 && err == EINTR) continue;
    if (count < 0) return Failed(err, "read", path);
    if (count == 0) return text;
    if (text.size() + static_cast<size_t>(count) > limit) {
      return Failed(EFBIG, "read", path, "more than " + std::to_string(limit) + " bytes");
    }
    text.append(chunk, static_cast<size_t>(count));
  }
}

Status WriteOnce(Syscalls& sys, int fd, const std::string& text, const std::string& path) {
  for (;;) {
    const ssize_t count = sys.Write(fd, text.data(), text.size());
    const int err = errno;
    if (count < 0 && err == EINTR) continue;
    if (count < 0) return Failed(err, "write", path);
    if (static_cast<size_t>(count) != text.size()) return Failed(EIO, "write", path, "short write");
    return Ok();
  }
}

Status FsyncFd(Syscalls& sys, int fd, const std::string& path) {
  for (;;) {
    const int result = sys.Fsync(fd);
    const int err = errno;
    if (result == 0) return Ok();
    if (err != EINTR) return Failed(err, "fsync", path);
  }
}

Status FlockFd(Syscalls& sys, int fd, int operation, const std::string& path) {
  for (;;) {
    const int result = sys.Flock(fd, operation);
    const int err = errno;
    if (result == 0) return Ok();
    if (err != EINTR) return Failed(err, "flock", path);
  }
}

}  // namespace meshstor
