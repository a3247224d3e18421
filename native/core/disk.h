#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/syscalls.h"

namespace meshstor {

constexpr uint64_t kMiB = uint64_t{1024} * 1024;

/// Memory that O_DIRECT accepts: aligned to 4096 bytes, zeroed, size as asked for.
class AlignedBuffer {
 public:
  /// `size` 0 is allowed. Throws std::bad_alloc.
  explicit AlignedBuffer(size_t size);
  unsigned char* data() { return data_.get(); }
  const unsigned char* data() const { return data_.get(); }
  size_t size() const { return size_; }

 private:
  struct Free {
    void operator()(unsigned char* data) const;
  };
  std::unique_ptr<unsigned char, Free> data_;
  size_t size_;
};

/// An open whole disk, partition, or regular file that holds the image of a disk.
///
/// Block devices are opened with O_DIRECT: nvmet and MD go around the page cache of the device node, so nothing read or
/// written here may stay in it. Image files have one cache for everybody and are opened without.
class Disk {
 public:
  enum class Access { kRead, kWrite, kExclusiveWrite };

  /// Opens and learns sizes (BLKSSZGET, BLKGETSIZE64). kExclusiveWrite adds O_EXCL: EBUSY while the device or a
  /// partition of it is mounted or held. `image_sector_size` is the logical sector size to assume for a regular file
  /// (512 or 4096); block devices have their own. ENOTBLK when the path is neither.
  static Result<Disk> Open(Syscalls& sys, const std::string& path, Access access, uint32_t image_sector_size = 512);

  Syscalls& sys() const { return *sys_; }
  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }
  bool is_block() const { return is_block_; }
  uint64_t size_bytes() const { return size_bytes_; }
  uint32_t sector_size() const { return sector_size_; }
  /// `major:minor`; empty for an image file.
  const std::string& dev_number() const { return dev_number_; }

  /// Reads whole sectors; EINVAL when offset or length are no multiples of the sector size or beyond the end. Blocks.
  Result<std::vector<uint8_t>> Read(uint64_t offset, size_t length) const;
  /// As Read, into a buffer that is used again.
  Status ReadInto(uint64_t offset, AlignedBuffer& buffer, size_t length) const;
  /// Writes whole sectors, not yet durable: call Sync. EINVAL as Read. Blocks.
  Status Write(uint64_t offset, const void* data, size_t length) const;
  /// fsync: on a block device this flushes the drive's volatile cache.
  Status Sync() const;
  /// flock on the disk node, as udev honours it. Waits at most `limit_ms` (polling), then EAGAIN. Released by closing.
  Status Lock(int operation, int limit_ms) const;

 private:
  Disk(Syscalls& sys, std::string path, UniqueFd fd) : sys_(&sys), path_(std::move(path)), fd_(std::move(fd)) {}
  Status CheckRange(const char* syscall, uint64_t offset, uint64_t length) const;
  Status Learn(uint32_t image_sector_size);

  Syscalls* sys_;
  std::string path_;
  UniqueFd fd_;
  bool is_block_ = false;
  uint64_t size_bytes_ = 0;
  uint32_t sector_size_ = 512;
  std::string dev_number_;
};

/// O_DIRECT read of whole sectors. Needs read permission on the node. Blocks.
Result<std::vector<uint8_t>> ReadBytes(Syscalls& sys, const std::string& path, uint64_t offset, uint64_t length);

/// O_DIRECT write of whole sectors, durable when it returns (fsync). Blocks.
Status WriteBytes(Syscalls& sys, const std::string& path, uint64_t offset, const std::vector<uint8_t>& data);

enum class ZeroVerify { kFull, kSample };

/// Zeroes a range and proves it by reading back; SPEC §5.
///
/// Works in pieces of 64 MiB: BLKZEROOUT cannot be interrupted or report progress, so a piece bounds how long one call
/// holds a thread (0.1 s where the drive has Write Zeroes, a fraction of a second of plain writing else), and it is a
/// multiple of every drive's largest Write Zeroes command, so nothing is lost by cutting. Each piece is read back
/// before the next is zeroed: all of it with kFull, a scattered 1 % with kSample, and with both always the first and
/// the last MiB of the range. `on_progress` gets the bytes of the range that are zero and checked. Durable when it
/// returns. EINVAL for a range that is not whole sectors inside the device; EIO with the offset when a byte reads back
/// non-zero.
Status ZeroRange(Syscalls& sys, const std::string& path, uint64_t start, uint64_t size, ZeroVerify verify,
                 const std::function<void(uint64_t)>& on_progress);

}  // namespace meshstor
