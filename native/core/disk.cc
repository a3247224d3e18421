#include "native/core/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <new>
#include <thread>
#include <utility>

namespace meshstor {
namespace {

constexpr size_t kAlignment = 4096;
constexpr uint64_t kZeroPiece = 64 * kMiB;
constexpr size_t kVerifyBuffer = kMiB;
/// Sampling: one block of 64 KiB out of each 6.25 MiB is 1 %.
constexpr uint64_t kSampleBlock = uint64_t{64} * 1024;
constexpr uint64_t kSampleStride = 100 * kSampleBlock;

}  // namespace

void AlignedBuffer::Free::operator()(unsigned char* data) const { ::free(data); }

AlignedBuffer::AlignedBuffer(size_t size) : size_(size) {
  const size_t rounded = (std::max<size_t>(size, 1) + kAlignment - 1) / kAlignment * kAlignment;
  auto* raw = static_cast<unsigned char*>(::aligned_alloc(kAlignment, rounded));
  if (raw == nullptr) throw std::bad_alloc();
  std::memset(raw, 0, rounded);
  data_.reset(raw);
}

Result<Disk> Disk::Open(Syscalls& sys, const std::string& path, Access access, uint32_t image_sector_size) {
  struct stat info = {};
  const int stat_result = sys.Stat(path.c_str(), &info);
  const int stat_err = errno;
  if (stat_result != 0) return Failed(stat_err, "open", path);
  const bool is_block = S_ISBLK(info.st_mode);
  if (!is_block && !S_ISREG(info.st_mode)) return Failed(ENOTBLK, "open", path);
  int flags = access == Access::kRead ? O_RDONLY : O_RDWR;
  if (is_block) flags |= O_DIRECT;
  if (is_block && access == Access::kExclusiveWrite) flags |= O_EXCL;
  auto fd = OpenFile(sys, path, flags);
  if (!fd.ok()) return fd.error();
  Disk disk(sys, path, std::move(fd).value());
  auto learned = disk.Learn(image_sector_size);
  if (!learned.ok()) return learned.error();
  return disk;
}

Status Disk::Learn(uint32_t image_sector_size) {
  struct stat info = {};
  const int stat_result = sys_->Fstat(fd_.get(), &info);
  const int stat_err = errno;
  if (stat_result != 0) return Failed(stat_err, "fstat", path_);
  is_block_ = S_ISBLK(info.st_mode);
  if (!is_block_) {
    sector_size_ = image_sector_size;
    size_bytes_ = static_cast<uint64_t>(info.st_size) / sector_size_ * sector_size_;
    return Ok();
  }
  dev_number_ = std::to_string(major(info.st_rdev)) + ":" + std::to_string(minor(info.st_rdev));
  int sector_size = 0;
  auto asked = IoctlFd(*sys_, fd_.get(), BLKSSZGET, &sector_size, "BLKSSZGET", path_);
  if (!asked.ok()) return asked.error();
  asked = IoctlFd(*sys_, fd_.get(), BLKGETSIZE64, &size_bytes_, "BLKGETSIZE64", path_);
  if (!asked.ok()) return asked.error();
  if (sector_size < 512 || sector_size > 65536 || (sector_size & (sector_size - 1)) != 0) {
    return Failed(EINVAL, "ioctl BLKSSZGET", path_, "sector size " + std::to_string(sector_size));
  }
  sector_size_ = static_cast<uint32_t>(sector_size);
  return Ok();
}

Status Disk::CheckRange(const char* syscall, uint64_t offset, uint64_t length) const {
  if (offset % sector_size_ != 0 || length % sector_size_ != 0) {
    return Failed(EINVAL, syscall, path_, "offset and length must be multiples of " + std::to_string(sector_size_));
  }
  if (offset > size_bytes_ || length > size_bytes_ - offset) {
    return Failed(EINVAL, syscall, path_, "range ends beyond the device's " + std::to_string(size_bytes_) + " bytes");
  }
  return Ok();
}

Status Disk::ReadInto(uint64_t offset, AlignedBuffer& buffer, size_t length) const {
  auto checked = CheckRange("pread", offset, length);
  if (!checked.ok()) return checked;
  if (length > buffer.size()) return Failed(EINVAL, "pread", path_, "buffer too small");
  return PreadFull(*sys_, fd_.get(), buffer.data(), length, offset, path_);
}

Result<std::vector<uint8_t>> Disk::Read(uint64_t offset, size_t length) const {
  auto checked = CheckRange("pread", offset, length);
  if (!checked.ok()) return checked.error();
  AlignedBuffer buffer(length);
  auto done = PreadFull(*sys_, fd_.get(), buffer.data(), length, offset, path_);
  if (!done.ok()) return done.error();
  return std::vector<uint8_t>(buffer.data(), buffer.data() + length);
}

Status Disk::Write(uint64_t offset, const void* data, size_t length) const {
  auto checked = CheckRange("pwrite", offset, length);
  if (!checked.ok()) return checked;
  AlignedBuffer buffer(length);
  if (length > 0) std::memcpy(buffer.data(), data, length);
  return PwriteFull(*sys_, fd_.get(), buffer.data(), length, offset, path_);
}

Status Disk::Sync() const { return FsyncFd(*sys_, fd_.get(), path_); }

Status Disk::Lock(int operation, int limit_ms) const {
  constexpr int kPollMs = 20;
  for (int waited = 0;; waited += kPollMs) {
    auto locked = FlockFd(*sys_, fd_.get(), operation | LOCK_NB, path_);
    if (locked.ok() || locked.error().err != EWOULDBLOCK) return locked;
    if (waited >= limit_ms) return Failed(EAGAIN, "flock", path_, "another program holds the disk's lock");
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollMs));
  }
}

Result<std::vector<uint8_t>> ReadBytes(Syscalls& sys, const std::string& path, uint64_t offset, uint64_t length) {
  auto disk = Disk::Open(sys, path, Disk::Access::kRead);
  if (!disk.ok()) return disk.error();
  return disk.value().Read(offset, length);
}

Status WriteBytes(Syscalls& sys, const std::string& path, uint64_t offset, const std::vector<uint8_t>& data) {
  auto disk = Disk::Open(sys, path, Disk::Access::kWrite);
  if (!disk.ok()) return disk.error();
  auto written = disk.value().Write(offset, data.data(), data.size());
  if (!written.ok()) return written;
  return disk.value().Sync();
}

namespace {

Status ZeroPiece(const Disk& disk, uint64_t start, uint64_t size) {
  if (disk.is_block()) {
    uint64_t range[2] = {start, size};
    auto zeroed = IoctlFd(disk.sys(), disk.fd(), BLKZEROOUT, range, "BLKZEROOUT", disk.path());
    if (!zeroed.ok()) return zeroed.error();
    return Ok();
  }
  const AlignedBuffer zeros(static_cast<size_t>(std::min<uint64_t>(size, kVerifyBuffer)));
  for (uint64_t at = start; at < start + size; at += zeros.size()) {
    const auto length = static_cast<size_t>(std::min<uint64_t>(zeros.size(), start + size - at));
    auto written = disk.Write(at, zeros.data(), length);
    if (!written.ok()) return written;
  }
  return Ok();
}

Status ExpectZero(const Disk& disk, AlignedBuffer& buffer, uint64_t start, uint64_t size) {
  for (uint64_t at = start; at < start + size; at += buffer.size()) {
    const auto length = static_cast<size_t>(std::min<uint64_t>(buffer.size(), start + size - at));
    auto read = disk.ReadInto(at, buffer, length);
    if (!read.ok()) return read;
    const auto* first = buffer.data();
    const auto* found = std::find_if(first, first + length, [](unsigned char byte) { return byte != 0; });
    if (found != first + length) {
      const uint64_t offset = at + static_cast<uint64_t>(found - first);
      return Failed(EIO, "read back", disk.path(), "byte " + std::to_string(offset) + " is not zero after zeroing");
    }
  }
  return Ok();
}

/// Reads blocks scattered over the piece; where in its stride a block lies varies so that no period of the drive's own
/// (stripes, erase blocks) can hide from it.
Status ExpectSampleZero(const Disk& disk, AlignedBuffer& buffer, uint64_t start, uint64_t size) {
  const uint64_t end = start + size;
  for (uint64_t stride = start; stride < end; stride += kSampleStride) {
    const uint64_t room = std::min(kSampleStride, end - stride);
    const uint64_t blocks = std::max<uint64_t>(room / kSampleBlock, 1);
    const uint64_t mixed = (stride / kSampleBlock + 1) * 0x9e3779b97f4a7c15ULL;
    const uint64_t at = stride + (mixed >> 32) % blocks * kSampleBlock;
    auto zero = ExpectZero(disk, buffer, at, std::min(kSampleBlock, end - at));
    if (!zero.ok()) return zero;
  }
  return Ok();
}

}  // namespace

Status ZeroRange(Syscalls& sys, const std::string& path, uint64_t start, uint64_t size, ZeroVerify verify,
                 const std::function<void(uint64_t)>& on_progress) {
  auto opened = Disk::Open(sys, path, Disk::Access::kExclusiveWrite);
  if (!opened.ok()) return opened.error();
  const Disk& disk = opened.value();
  const uint64_t sector = disk.sector_size();
  if (start % sector != 0 || size % sector != 0 || start > disk.size_bytes() || size > disk.size_bytes() - start) {
    return Failed(EINVAL, "ioctl BLKZEROOUT", path, "range must be whole sectors inside the device");
  }
  AlignedBuffer buffer(kVerifyBuffer);
  for (uint64_t done = 0; done < size;) {
    const uint64_t piece = std::min(kZeroPiece, size - done);
    auto step = ZeroPiece(disk, start + done, piece);
    if (!step.ok()) return step;
    step = verify == ZeroVerify::kFull ? ExpectZero(disk, buffer, start + done, piece)
                                       : ExpectSampleZero(disk, buffer, start + done, piece);
    if (!step.ok()) return step;
    done += piece;
    if (done < size && on_progress) on_progress(done);
  }
  auto step = disk.Sync();
  if (!step.ok()) return step;
  const uint64_t edge = std::min<uint64_t>(kMiB, size);
  step = ExpectZero(disk, buffer, start, edge);
  if (!step.ok()) return step;
  step = ExpectZero(disk, buffer, start + size - edge, edge);
  if (!step.ok()) return step;
  if (on_progress) on_progress(size);
  return Ok();
}

}  // namespace meshstor
