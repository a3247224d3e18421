#include "native/core/gpt.h"

#include <errno.h>
#include <sys/file.h>

#include <algorithm>
#include <utility>

#include "native/core/disk.h"
#include "native/core/kernel_partitions.h"

namespace meshstor {
namespace {

constexpr uint32_t kEntryCount = 128;
constexpr uint32_t kEntrySize = 128;
constexpr int kReaderLockMs = 2000;

Result<GptImage> Load(const Disk& disk) {
  const GptGeometry geometry{disk.size_bytes(), disk.sector_size()};
  auto image = ReadGptImage(geometry, [&disk](uint64_t offset, size_t length) { return disk.Read(offset, length); });
  if (!image.ok() && image.error().path.empty()) {
    SysError error = image.error();
    error.path = disk.path();
    return error;
  }
  return image;
}

Status WriteCopy(const Disk& disk, const GptHeader& header, const std::vector<uint8_t>& base,
                 const std::vector<uint8_t>& entries) {
  auto step = disk.Write(header.entries_lba * disk.sector_size(), entries.data(), entries.size());
  if (!step.ok()) return step;
  const std::vector<uint8_t> sector = EncodeHeader(base, header, entries);
  step = disk.Write(header.my_lba * disk.sector_size(), sector.data(), sector.size());
  if (!step.ok()) return step;
  return disk.Sync();
}

SysError Unusable(const Disk& disk, const GptImage& image) {
  std::string message = std::string("the partition table is ") + StateName(image.state);
  if (!image.problems.empty()) {
    const GptProblem& first = image.problems.front();
    message += std::string(": ") + CopyName(first.copy) + " " + first.field + ": " + first.message;
  }
  return Failed(EUCLEAN, "read", disk.path(), message);
}

/// The other copy's header, made from a good one.
Result<GptHeader> OtherHeader(const Disk& disk, const GptImage& image, bool make_backup) {
  GptHeader header = make_backup ? image.primary.header : image.backup.header;
  const uint64_t length = header.entries_sectors(disk.sector_size());
  const uint64_t last = image.geometry.last_lba();
  const GptCopy& old = make_backup ? image.backup : image.primary;
  header.my_lba = make_backup ? last : 1;
  header.alternate_lba = make_backup ? 1 : last;
  const uint64_t usual = make_backup ? last - length : 2;
  const bool old_place_fits = old.header_good && old.header.entries_sectors(disk.sector_size()) == length;
  header.entries_lba = old_place_fits ? old.header.entries_lba : usual;
  const bool fits = make_backup ? header.entries_lba > header.last_usable_lba && header.entries_lba + length <= last
                                : header.entries_lba > 1 && header.entries_lba + length <= header.first_usable_lba;
  if (!fits) return Failed(EUCLEAN, "read", disk.path(), "there is no room for the other copy's entries");
  return header;
}

/// Makes both copies good and equal, and the protective MBR right.
Status RepairTable(const Disk& disk, const GptImage& image) {
  if (image.Current() == nullptr) return Unusable(disk, image);
  if (image.state == GptState::kDiffer && !image.only_ours_differ) return Unusable(disk, image);
  if (image.state != GptState::kValid) {
    const bool make_backup = image.state != GptState::kBackupOnly;
    auto header = OtherHeader(disk, image, make_backup);
    if (!header.ok()) return header.error();
    const GptCopy& good = make_backup ? image.primary : image.backup;
    auto step = WriteCopy(disk, header.value(), good.header_sector, good.entries_raw);
    if (!step.ok()) return step;
  }
  if (image.mbr_good) return Ok();
  const std::vector<uint8_t> mbr = EncodeProtectiveMbr(image.geometry, image.mbr_sector);
  auto step = disk.Write(0, mbr.data(), mbr.size());
  if (!step.ok()) return step;
  return disk.Sync();
}

Result<GptImage> LoadValid(const Disk& disk) {
  auto image = Load(disk);
  if (!image.ok()) return image;
  if (image.value().state == GptState::kValid && image.value().mbr_good) return image;
  auto repaired = RepairTable(disk, image.value());
  if (!repaired.ok()) return repaired.error();
  image = Load(disk);
  if (!image.ok()) return image;
  if (image.value().state != GptState::kValid) return Unusable(disk, image.value());
  return image;
}

/// Writes new entries into both copies and reads them back.
Status WriteEntries(const Disk& disk, const GptImage& image, const std::vector<uint8_t>& entries) {
  for (const GptCopy* copy : {&image.backup, &image.primary}) {
    auto step = WriteCopy(disk, copy->header, copy->header_sector, entries);
    if (!step.ok()) return step;
  }
  auto after = Load(disk);
  if (!after.ok()) return after.error();
  const bool as_written = after.value().state == GptState::kValid && after.value().primary.entries_raw == entries;
  if (!as_written) return Failed(EIO, "read back", disk.path(), "the partition table does not read as it was written");
  return Ok();
}

const GptEntry* Find(const GptCopy& copy, const Guid& unique) {
  const auto at = std::find_if(copy.entries.begin(), copy.entries.end(),
                               [&unique](const GptEntry& entry) { return entry.unique == unique; });
  return at == copy.entries.end() ? nullptr : &*at;
}

const KernelPart* FindPart(const std::vector<KernelPart>& parts, uint32_t number) {
  const auto at =
      std::find_if(parts.begin(), parts.end(), [number](const KernelPart& part) { return part.number == number; });
  return at == parts.end() ? nullptr : &*at;
}

KernelPart AsKernelPart(const Disk& disk, const GptEntry& entry) {
  const uint64_t sector = disk.sector_size();
  return {entry.number, entry.first_lba * sector, (entry.last_lba - entry.first_lba + 1) * sector};
}

SysError OtherPlace(const Disk& disk, uint32_t number) {
  return Failed(EBUSY, "ioctl BLKPG", disk.path(),
                "the kernel's partition " + std::to_string(number) + " lies elsewhere than the table's");
}

/// Makes the kernel have this partition, as long as the table has it.
Status EnsureInKernel(const Disk& disk, const KernelPartitions& kernel, const std::vector<KernelPart>& parts,
                      const GptEntry& entry, bool may_resize) {
  if (!disk.is_block()) return Ok();
  const KernelPart wanted = AsKernelPart(disk, entry);
  const KernelPart* part = FindPart(parts, entry.number);
  if (part == nullptr) return kernel.Add(wanted);
  if (part->start_bytes != wanted.start_bytes) return OtherPlace(disk, entry.number);
  if (part->size_bytes == wanted.size_bytes || !may_resize) return Ok();
  return kernel.Resize(wanted);
}

bool Overlap(uint64_t start_a, uint64_t size_a, uint64_t start_b, uint64_t size_b) {
  return start_a < start_b + size_b && start_b < start_a + size_a;
}

/// EBUSY when the kernel has something in the range besides partition `except`.
Status ExpectNoKernelPartition(const Disk& disk, const std::vector<KernelPart>& parts, uint64_t start, uint64_t size,
                               uint32_t except) {
  for (const KernelPart& part : parts) {
    if (part.number == except || !Overlap(part.start_bytes, part.size_bytes, start, size)) continue;
    return Failed(EBUSY, "ioctl BLKPG", disk.path(),
                  "the kernel's partition " + std::to_string(part.number) + ", which the table has not, is there");
  }
  return Ok();
}

/// A disk opened for changing, with its lock, its table in order and what the kernel has of it.
struct Session {
  Disk disk;
  GptImage image;
  std::vector<KernelPart> parts;
};

Result<Session> Begin(Syscalls& sys, const std::string& path, const GptOptions& options) {
  auto disk = Disk::Open(sys, path, Disk::Access::kWrite, options.image_sector_size);
  if (!disk.ok()) return disk.error();
  auto locked = disk.value().Lock(LOCK_EX, options.lock_limit_ms);
  if (!locked.ok()) return locked.error();
  auto image = LoadValid(disk.value());
  if (!image.ok()) return image.error();
  auto parts = KernelPartitions(disk.value(), options.root).List();
  if (!parts.ok()) return parts.error();
  return Session{std::move(disk).value(), std::move(image).value(), std::move(parts).value()};
}

Status CheckNew(const Disk& disk, const NewPartition& wanted) {
  const bool aligned = wanted.start_bytes % kMiB == 0 && wanted.size_bytes % disk.sector_size() == 0;
  if (!aligned || wanted.size_bytes == 0) {
    return Failed(EINVAL, "add partition", disk.path(), "the start must be a multiple of 1 MiB, the size of a sector");
  }
  if (!EncodeLabel(wanted.name).has_value()) {
    return Failed(EINVAL, "add partition", disk.path(), "the name must be UTF-8 of at most 36 UTF-16 units");
  }
  if (IsZeroGuid(wanted.type) || IsZeroGuid(wanted.unique)) {
    return Failed(EINVAL, "add partition", disk.path(), "type and partition GUID must not be zero");
  }
  return Ok();
}

/// Lowest entry that neither the table nor the kernel uses; 0 when there is none.
uint32_t FreeNumber(const GptCopy& copy, const std::vector<KernelPart>& parts) {
  for (uint32_t number = 1; number <= copy.header.entry_count; ++number) {
    const bool in_table = std::any_of(copy.entries.begin(), copy.entries.end(),
                                      [number](const GptEntry& entry) { return entry.number == number; });
    if (!in_table && FindPart(parts, number) == nullptr) return number;
  }
  return 0;
}

Result<GptEntry> Place(const Session& session, const NewPartition& wanted) {
  const Disk& disk = session.disk;
  const uint64_t sector = disk.sector_size();
  GptEntry entry;
  entry.type = wanted.type;
  entry.unique = wanted.unique;
  entry.name = wanted.name;
  entry.first_lba = wanted.start_bytes / sector;
  entry.last_lba = entry.first_lba + wanted.size_bytes / sector - 1;
  const std::vector<LbaRange> free = FreeRanges(session.image);
  const bool fits = std::any_of(free.begin(), free.end(), [&entry](const LbaRange& range) {
    return entry.first_lba >= range.first && entry.last_lba <= range.last;
  });
  if (!fits || entry.last_lba < entry.first_lba) {
    return Failed(ENOSPC, "add partition", disk.path(), "the range is not free");
  }
  auto clear = ExpectNoKernelPartition(disk, session.parts, wanted.start_bytes, wanted.size_bytes, 0);
  if (!clear.ok()) return clear.error();
  entry.number = FreeNumber(session.image.primary, session.parts);
  if (entry.number == 0) return Failed(ENOSPC, "add partition", disk.path(), "the table has no free entry");
  return entry;
}

Status WipeEdges(const Disk& disk, const NewPartition& wanted) {
  const auto edge = static_cast<size_t>(std::min(kMiB, wanted.size_bytes));
  const std::vector<uint8_t> zeros(edge);
  auto step = disk.Write(wanted.start_bytes, zeros.data(), edge);
  if (!step.ok()) return step;
  step = disk.Write(wanted.start_bytes + wanted.size_bytes - edge, zeros.data(), edge);
  if (!step.ok()) return step;
  return disk.Sync();
}

}  // namespace

Result<GptImage> ReadGpt(Syscalls& sys, const std::string& path, const GptOptions& options) {
  auto disk = Disk::Open(sys, path, Disk::Access::kRead, options.image_sector_size);
  if (!disk.ok()) return disk.error();
  auto image = Load(disk.value());
  if (!image.ok()) return image;
  const GptState state = image.value().state;
  if (state == GptState::kValid || state == GptState::kBlank || state == GptState::kForeign) return image;
  auto locked = disk.value().Lock(LOCK_SH, std::min(kReaderLockMs, options.lock_limit_ms));
  if (!locked.ok()) return image;
  return Load(disk.value());
}

Status InitializeGpt(Syscalls& sys, const std::string& path, const Guid& disk_guid, const GptOptions& options) {
  auto opened = Disk::Open(sys, path, Disk::Access::kExclusiveWrite, options.image_sector_size);
  if (!opened.ok()) return opened.error();
  const Disk& disk = opened.value();
  auto step = disk.Lock(LOCK_EX, options.lock_limit_ms);
  if (!step.ok()) return step;
  if (IsZeroGuid(disk_guid)) return Failed(EINVAL, "initialize", path, "the disk GUID must not be zero");
  if (disk.size_bytes() < 4 * kMiB) return Failed(ENOSPC, "initialize", path, "smaller than 4 MiB");
  auto image = Load(disk);
  if (!image.ok()) return image.error();
  if (image.value().state != GptState::kBlank) {
    return Failed(EEXIST, "initialize", path,
                  std::string("the disk is not blank but ") + StateName(image.value().state));
  }
  auto parts = KernelPartitions(disk, options.root).List();
  if (!parts.ok()) return parts.error();
  step = ExpectNoKernelPartition(disk, parts.value(), 0, disk.size_bytes(), 0);
  if (!step.ok()) return step;

  GptHeader header;
  header.entry_count = kEntryCount;
  header.entry_size = kEntrySize;
  header.disk_guid = disk_guid;
  const uint64_t length = header.entries_sectors(disk.sector_size());
  const uint64_t last = image.value().geometry.last_lba();
  header.first_usable_lba = 2 + length;
  header.last_usable_lba = last - length - 1;
  header.my_lba = last;
  header.alternate_lba = 1;
  header.entries_lba = last - length;
  const std::vector<uint8_t> base = BlankHeaderSector(disk.sector_size());
  const std::vector<uint8_t> entries(static_cast<size_t>(length) * disk.sector_size());
  step = WriteCopy(disk, header, base, entries);
  if (!step.ok()) return step;
  std::swap(header.my_lba, header.alternate_lba);
  header.entries_lba = 2;
  step = WriteCopy(disk, header, base, entries);
  if (!step.ok()) return step;
  auto ready = LoadValid(disk);
  if (!ready.ok()) return ready.error();
  return Ok();
}

Result<std::string> AddGptPartition(Syscalls& sys, const std::string& path, const NewPartition& wanted,
                                    const GptOptions& options) {
  auto begun = Begin(sys, path, options);
  if (!begun.ok()) return begun.error();
  const Session& session = begun.value();
  const Disk& disk = session.disk;
  auto step = CheckNew(disk, wanted);
  if (!step.ok()) return step.error();
  const KernelPartitions kernel(disk, options.root);
  if (const GptEntry* existing = Find(session.image.primary, wanted.unique)) {
    const KernelPart has = AsKernelPart(disk, *existing);
    const bool same =
        existing->type == wanted.type && has.start_bytes == wanted.start_bytes && has.size_bytes == wanted.size_bytes;
    if (!same) return Failed(EEXIST, "add partition", path, "the GUID belongs to another partition already");
    step = EnsureInKernel(disk, kernel, session.parts, *existing, true);
    if (!step.ok()) return step.error();
    return kernel.NodePath(existing->number);
  }
  auto entry = Place(session, wanted);
  if (!entry.ok()) return entry.error();
  step = WipeEdges(disk, wanted);
  if (!step.ok()) return step.error();
  std::vector<uint8_t> entries = session.image.primary.entries_raw;
  EncodeEntry(session.image.primary.header, entry.value(), entries);
  step = WriteEntries(disk, session.image, entries);
  if (!step.ok()) return step.error();
  step = EnsureInKernel(disk, kernel, session.parts, entry.value(), false);
  if (!step.ok()) return step.error();
  return kernel.NodePath(entry.value().number);
}

Status RemoveGptPartition(Syscalls& sys, const std::string& path, const Guid& unique, const GptOptions& options) {
  auto begun = Begin(sys, path, options);
  if (!begun.ok()) return begun.error();
  const Session& session = begun.value();
  const GptEntry* entry = Find(session.image.primary, unique);
  if (entry == nullptr) return Ok();
  const KernelPart* part = FindPart(session.parts, entry->number);
  if (part != nullptr) {
    if (part->start_bytes != AsKernelPart(session.disk, *entry).start_bytes) {
      return OtherPlace(session.disk, entry->number);
    }
    auto removed = KernelPartitions(session.disk, options.root).Remove(entry->number);
    if (!removed.ok()) return removed;
  }
  std::vector<uint8_t> entries = session.image.primary.entries_raw;
  ClearEntry(session.image.primary.header, entry->number, entries);
  return WriteEntries(session.disk, session.image, entries);
}

Status ResizeGptPartition(Syscalls& sys, const std::string& path, const Guid& unique, uint64_t size_bytes,
                          const GptOptions& options) {
  auto begun = Begin(sys, path, options);
  if (!begun.ok()) return begun.error();
  const Session& session = begun.value();
  const Disk& disk = session.disk;
  const GptCopy& table = session.image.primary;
  const GptEntry* found = Find(table, unique);
  if (found == nullptr) return Failed(ENOENT, "resize partition", path, "no partition " + FormatGuid(unique));
  if (size_bytes == 0 || size_bytes % disk.sector_size() != 0) {
    return Failed(EINVAL, "resize partition", path, "the size must be whole sectors");
  }
  GptEntry wanted = *found;
  wanted.last_lba = found->first_lba + size_bytes / disk.sector_size() - 1;
  const bool taken = std::any_of(table.entries.begin(), table.entries.end(), [&wanted](const GptEntry& other) {
    return other.number != wanted.number && other.first_lba <= wanted.last_lba && other.last_lba >= wanted.first_lba;
  });
  if (taken || wanted.last_lba > table.header.last_usable_lba) {
    return Failed(ENOSPC, "resize partition", path, "the space behind is not free");
  }
  const KernelPart target = AsKernelPart(disk, wanted);
  auto step = ExpectNoKernelPartition(disk, session.parts, target.start_bytes, target.size_bytes, target.number);
  if (!step.ok()) return step;
  const KernelPartitions kernel(disk, options.root);
  const bool shrinks = wanted.last_lba < found->last_lba;
  if (shrinks) {
    step = EnsureInKernel(disk, kernel, session.parts, wanted, true);
    if (!step.ok()) return step;
  }
  if (wanted.last_lba != found->last_lba) {
    std::vector<uint8_t> entries = table.entries_raw;
    SetEntryEnd(table.header, wanted.number, wanted.last_lba, entries);
    step = WriteEntries(disk, session.image, entries);
    if (!step.ok()) return step;
  }
  return shrinks ? Ok() : EnsureInKernel(disk, kernel, session.parts, wanted, true);
}

Status RepairGpt(Syscalls& sys, const std::string& path, const GptOptions& options) {
  auto begun = Begin(sys, path, options);
  if (!begun.ok()) return begun.error();
  const Session& session = begun.value();
  const KernelPartitions kernel(session.disk, options.root);
  for (const GptEntry& entry : session.image.primary.entries) {
    auto step = EnsureInKernel(session.disk, kernel, session.parts, entry, entry.IsOurs());
    if (!step.ok()) return step;
  }
  return Ok();
}

}  // namespace meshstor
