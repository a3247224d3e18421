#include "native/test/memory_disk.h"

#include <errno.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <utility>

namespace meshstor {
namespace {

constexpr int kFd = 100000;
constexpr char kSysDir[] = "/sys/devices/virtual/block/nvme9n1";

}  // namespace

MemoryDisk::MemoryDisk(std::vector<uint8_t> bytes, uint32_t sector_size, bool is_block)
    : content(std::move(bytes)), sector_size_(sector_size), is_block_(is_block) {
  tree_.Dir(kSysDir);
  tree_.Link("/sys/dev/block/259:7", "../../devices/virtual/block/nvme9n1");
}

int MemoryDisk::Fail(int err) {
  errno = err;
  return -1;
}

void MemoryDisk::Put(uint32_t number, Part part) {
  parts[number] = part;
  const std::string dir = std::string(kSysDir) + "/nvme9n1p" + std::to_string(number);
  tree_.File(dir + "/partition", std::to_string(number) + "\n");
  tree_.File(dir + "/start", std::to_string(part.start_bytes / 512) + "\n");
  tree_.File(dir + "/size", std::to_string(part.size_bytes / 512) + "\n");
}

void MemoryDisk::Drop(uint32_t number) {
  parts.erase(number);
  std::filesystem::remove_all(tree_.root() + kSysDir + "/nvme9n1p" + std::to_string(number));
}

int MemoryDisk::Open(const char* path, int flags, mode_t mode) {
  return std::strcmp(path, kPath) == 0 ? kFd : real_.Open(path, flags, mode);
}

int MemoryDisk::Close(int fd) { return fd == kFd ? 0 : real_.Close(fd); }

ssize_t MemoryDisk::Read(int fd, void* data, size_t length) { return real_.Read(fd, data, length); }

ssize_t MemoryDisk::Pread(int fd, void* data, size_t length, off_t offset) {
  if (fd != kFd) return real_.Pread(fd, data, length, offset);
  const auto start = static_cast<size_t>(offset);
  if (start % sector_size_ != 0 || length % sector_size_ != 0) return Fail(EINVAL);
  if (start >= content.size()) return 0;
  const size_t count = std::min(length, content.size() - start);
  std::memcpy(data, content.data() + start, count);
  return static_cast<ssize_t>(count);
}

ssize_t MemoryDisk::Pwrite(int fd, const void* data, size_t length, off_t offset) {
  if (fd != kFd) return real_.Pwrite(fd, data, length, offset);
  if (fail_write_in == 0) return Fail(fail_write_errno);
  if (fail_write_in > 0) --fail_write_in;
  const auto start = static_cast<std::ptrdiff_t>(offset);
  const bool whole = start % sector_size_ == 0 && length % sector_size_ == 0;
  if (!whole || reinterpret_cast<uintptr_t>(data) % 512 != 0) return Fail(EINVAL);
  if (static_cast<size_t>(start) + length > content.size()) return Fail(ENOSPC);
  const auto* bytes = static_cast<const uint8_t*>(data);
  writes.push_back({static_cast<uint64_t>(start), {bytes, bytes + length}, epoch_});
  std::memcpy(content.data() + start, bytes, length);
  events.push_back("write " + std::to_string(start / sector_size_));
  return static_cast<ssize_t>(length);
}

int MemoryDisk::Fsync(int fd) {
  if (fd != kFd) return real_.Fsync(fd);
  ++epoch_;
  events.emplace_back("sync");
  return 0;
}

int MemoryDisk::Flock(int fd, int operation) {
  if (fd != kFd) return real_.Flock(fd, operation);
  if (locked_by_other) return Fail(EWOULDBLOCK);
  events.emplace_back((operation & LOCK_EX) != 0 ? "lock" : "lock shared");
  return 0;
}

int MemoryDisk::Ioctl(int fd, unsigned long request, void* argument) {
  if (fd != kFd) return real_.Ioctl(fd, request, argument);
  switch (request) {
    case BLKSSZGET:
      *static_cast<int*>(argument) = static_cast<int>(sector_size_);
      return 0;
    case BLKGETSIZE64:
      *static_cast<uint64_t*>(argument) = content.size();
      return 0;
    case BLKZEROOUT: {
      const auto* range = static_cast<uint64_t*>(argument);
      events.push_back("zero " + std::to_string(range[0]) + "+" + std::to_string(range[1]));
      if (zeroing_lies) return 0;
      std::fill_n(content.begin() + static_cast<std::ptrdiff_t>(range[0]), range[1], uint8_t{0});
      return 0;
    }
    case BLKPG:
      return Blkpg(argument);
    default:
      return Fail(ENOTTY);
  }
}

int MemoryDisk::Blkpg(void* argument) {
  const auto* call = static_cast<const struct blkpg_ioctl_arg*>(argument);
  const auto* detail = static_cast<const struct blkpg_partition*>(call->data);
  const auto number = static_cast<uint32_t>(detail->pno);
  const Part wanted{static_cast<uint64_t>(detail->start), static_cast<uint64_t>(detail->length)};
  const auto at = parts.find(number);
  const bool overlaps = std::any_of(parts.begin(), parts.end(), [&](const auto& other) {
    return other.first != number && wanted.start_bytes < other.second.start_bytes + other.second.size_bytes &&
           other.second.start_bytes < wanted.start_bytes + wanted.size_bytes;
  });
  switch (call->op) {
    case BLKPG_ADD_PARTITION:
      if (blkpg_add_errno != 0) return Fail(blkpg_add_errno);
      if (at != parts.end() || overlaps) return Fail(EBUSY);
      events.push_back("kernel add " + std::to_string(number));
      Put(number, wanted);
      return 0;
    case BLKPG_DEL_PARTITION:
      if (at == parts.end()) return Fail(ENXIO);
      if (at->second.busy) return Fail(EBUSY);
      events.push_back("kernel del " + std::to_string(number));
      Drop(number);
      return 0;
    case BLKPG_RESIZE_PARTITION:
      if (at == parts.end()) return Fail(ENXIO);
      if (at->second.start_bytes != wanted.start_bytes) return Fail(EINVAL);
      if (overlaps) return Fail(EBUSY);
      events.push_back("kernel resize " + std::to_string(number));
      Put(number, {wanted.start_bytes, wanted.size_bytes, at->second.busy});
      return 0;
    default:
      return Fail(EINVAL);
  }
}

int MemoryDisk::Fstat(int fd, struct stat* out) {
  if (fd != kFd) return real_.Fstat(fd, out);
  *out = {};
  out->st_mode = is_block_ ? S_IFBLK : S_IFREG;
  out->st_rdev = makedev(259, 7);
  out->st_size = static_cast<off_t>(content.size());
  return 0;
}

int MemoryDisk::Stat(const char* path, struct stat* out) {
  return std::strcmp(path, kPath) == 0 ? Fstat(kFd, out) : real_.Stat(path, out);
}

int MemoryDisk::Mount(const char*, const char*, const char*, unsigned long, const void*) { return Fail(EPERM); }
int MemoryDisk::Umount2(const char*, int) { return Fail(EPERM); }
int MemoryDisk::Mknod(const char*, mode_t, dev_t) { return Fail(EPERM); }

}  // namespace meshstor
