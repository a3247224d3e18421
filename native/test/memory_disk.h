#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "native/core/syscalls.h"
#include "native/test/temp_tree.h"

namespace meshstor {

/// A disk in memory behind the system calls: a block device with its sysfs directory and BLKPG, or a regular file. It
/// records every write and sync, and can fail on demand. Calls that are not about it go to the real kernel.
class MemoryDisk final : public Syscalls {
 public:
  struct Piece {
    uint64_t offset;
    std::vector<uint8_t> bytes;
    /// How many syncs came before.
    int epoch;
  };
  struct Part {
    uint64_t start_bytes;
    uint64_t size_bytes;
    bool busy = false;
  };

  MemoryDisk(std::vector<uint8_t> content, uint32_t sector_size, bool is_block);

  static constexpr char kPath[] = "/dev/memory-disk";
  /// Root of the sysfs tree that shows the kernel's partitions.
  const std::string& root() const { return tree_.root(); }

  std::vector<uint8_t> content;
  std::vector<Piece> writes;
  std::vector<std::string> events;
  std::map<uint32_t, Part> parts;
  /// Errno for the n-th write from now (0 = next); -1 never.
  int fail_write_in = -1;
  int fail_write_errno = 0;
  int blkpg_add_errno = 0;
  /// Bytes that zeroing leaves as they are.
  bool zeroing_lies = false;
  bool locked_by_other = false;

  /// Puts a partition into the kernel's view.
  void Put(uint32_t number, Part part);
  void Drop(uint32_t number);

  int Open(const char* path, int flags, mode_t mode) override;
  int Close(int fd) override;
  ssize_t Read(int fd, void* data, size_t length) override;
  ssize_t Pread(int fd, void* data, size_t length, off_t offset) override;
  ssize_t Pwrite(int fd, const void* data, size_t length, off_t offset) override;
  int Fsync(int fd) override;
  int Flock(int fd, int operation) override;
  int Ioctl(int fd, unsigned long request, void* argument) override;
  int Fstat(int fd, struct stat* out) override;
  int Stat(const char* path, struct stat* out) override;

  ssize_t Write(int fd, const void* data, size_t length) override { return real_.Write(fd, data, length); }
  int Lstat(const char* path, struct stat* out) override { return real_.Lstat(path, out); }
  int Statfs(const char* path, struct statfs* out) override { return real_.Statfs(path, out); }
  int Mount(const char*, const char*, const char*, unsigned long, const void*) override;
  int Umount2(const char*, int) override;
  int Mkdir(const char* path, mode_t mode) override { return real_.Mkdir(path, mode); }
  int Rmdir(const char* path) override { return real_.Rmdir(path); }
  int Symlink(const char* target, const char* link_path) override { return real_.Symlink(target, link_path); }
  ssize_t Readlink(const char* path, char* buffer, size_t size) override { return real_.Readlink(path, buffer, size); }
  int Unlink(const char* path) override { return real_.Unlink(path); }
  int Mknod(const char*, mode_t, dev_t) override;
  int Poll(struct pollfd* fds, nfds_t count, int timeout_ms) override { return real_.Poll(fds, count, timeout_ms); }
  int Socket(int domain, int type, int protocol) override { return real_.Socket(domain, type, protocol); }
  int Bind(int fd, const struct sockaddr* address, socklen_t length) override {
    return real_.Bind(fd, address, length);
  }
  ssize_t Recv(int fd, void* data, size_t length, int flags) override { return real_.Recv(fd, data, length, flags); }

 private:
  int Blkpg(void* argument);
  int Fail(int err);

  Syscalls& real_ = RealSyscalls();
  TempTree tree_;
  uint32_t sector_size_;
  bool is_block_;
  int epoch_ = 0;
};

}  // namespace meshstor
