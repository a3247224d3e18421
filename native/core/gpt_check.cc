#include <errno.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <utility>

#include "native/core/gpt_format.h"
#include "native/core/gpt_layout.h"
#include "native/core/syscalls.h"

namespace meshstor {

using namespace gpt_layout;  // NOLINT(google-build-using-namespace): its only two users

namespace {

constexpr uint64_t kMiB = uint64_t{1024} * 1024;

bool AllZero(const std::vector<uint8_t>& bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t byte) { return byte == 0; });
}

/// Collects what is wrong with one copy.
class Faults {
 public:
  Faults(GptCopyKind kind, std::vector<GptProblem>& out) : kind_(kind), out_(out) {}
  /// Returns the condition, after noting the problem when it does not hold.
  bool Check(bool condition, const char* field, const std::string& message) {
    if (!condition) {
      out_.push_back({kind_, field, message});
      ++count_;
    }
    return condition;
  }
  bool none() const { return count_ == 0; }

 private:
  GptCopyKind kind_;
  std::vector<GptProblem>& out_;
  int count_ = 0;
};

std::string Number(uint64_t value) { return std::to_string(value); }

/// The fields that say how long everything is, and the CRC over them. False: nothing else in the header means anything.
bool CheckHeaderFrame(const std::vector<uint8_t>& sector, Faults& faults) {
  const uint32_t header_size = Get32(sector, kAtHeaderSize);
  if (!faults.Check(header_size >= kMinHeaderSize && header_size <= sector.size(), "HeaderSize",
                    Number(header_size) + " is not between 92 and the sector size")) {
    return false;
  }
  std::vector<uint8_t> covered(sector.begin(), sector.begin() + header_size);
  PutLe(covered, kAtHeaderCrc, 4, 0);
  return faults.Check(Crc32(covered.data(), covered.size()) == Get32(sector, kAtHeaderCrc), "HeaderCRC32",
                      "the header's checksum does not match its bytes");
}

void CheckHeaderFields(const GptGeometry& disk, GptCopyKind kind, const std::vector<uint8_t>& sector,
                       const GptHeader& header, Faults& faults) {
  const bool primary = kind == GptCopyKind::kPrimary;
  const uint64_t last = disk.last_lba();
  const uint64_t my_lba = primary ? 1 : last;
  const uint64_t alternate = primary ? last : 1;
  faults.Check(Get32(sector, kAtRevision) == kRevision, "Revision", "only revision 1.0 is known");
  faults.Check(Get32(sector, kAtReserved) == 0, "Reserved", "must be zero");
  faults.Check(header.my_lba == my_lba, "MyLBA", Number(header.my_lba) + " instead of " + Number(my_lba));
  faults.Check(header.alternate_lba == alternate, "AlternateLBA",
               Number(header.alternate_lba) + " instead of " + Number(alternate) + ": was the device's size changed?");
  faults.Check(!IsZeroGuid(header.disk_guid), "DiskGUID", "is zero");
  const bool size_good = faults.Check(header.entry_size >= kMinEntrySize && header.entry_size <= kMaxEntrySize &&
                                          (header.entry_size & (header.entry_size - 1)) == 0,
                                      "SizeOfPartitionEntry", Number(header.entry_size) + " is not 128, 256, … 4096");
  const bool count_good =
      faults.Check(header.entry_count >= 1 && header.entry_count <= kMaxEntries &&
                       (!size_good || header.entries_bytes() <= kMaxEntriesBytes),
                   "NumberOfPartitionEntries", Number(header.entry_count) + " is not between 1 and what 1 MiB holds");
  const bool last_good = faults.Check(header.last_usable_lba < last, "LastUsableLBA",
                                      Number(header.last_usable_lba) + " is not before the backup header");
  faults.Check(header.first_usable_lba > 1 && header.first_usable_lba <= (last_good ? header.last_usable_lba : last),
               "FirstUsableLBA", Number(header.first_usable_lba) + " is not between the header and LastUsableLBA");
  if (!size_good || !count_good || !last_good) return;
  const uint64_t length = header.entries_sectors(disk.sector_size);
  const uint64_t low = primary ? 2 : header.last_usable_lba + 1;
  const uint64_t limit = primary ? std::min(header.first_usable_lba, last) : last;
  faults.Check(
      header.entries_lba >= low && header.entries_lba < limit && length <= limit - header.entries_lba,
      "PartitionEntryLBA",
      "the entries at " + Number(header.entries_lba) + " do not lie in [" + Number(low) + ", " + Number(limit) + ")");
}

void CheckEntries(const GptHeader& header, const std::vector<GptEntry>& entries, Faults& faults) {
  std::set<Guid> seen;
  std::vector<const GptEntry*> by_start;
  for (const GptEntry& entry : entries) {
    const std::string who = "partition " + Number(entry.number);
    faults.Check(!IsZeroGuid(entry.unique), "UniquePartitionGUID", who + " has none");
    faults.Check(seen.insert(entry.unique).second, "UniquePartitionGUID",
                 who + " has the GUID of another one, " + FormatGuid(entry.unique));
    const bool start_good =
        faults.Check(entry.first_lba >= header.first_usable_lba && entry.first_lba <= header.last_usable_lba,
                     "StartingLBA", who + " starts outside the usable range, at " + Number(entry.first_lba));
    const bool end_good =
        faults.Check(entry.last_lba >= entry.first_lba && entry.last_lba <= header.last_usable_lba, "EndingLBA",
                     who + " ends before it starts or beyond the usable range, at " + Number(entry.last_lba));
    if (start_good && end_good) by_start.push_back(&entry);
  }
  std::sort(by_start.begin(), by_start.end(),
            [](const GptEntry* a, const GptEntry* b) { return a->first_lba < b->first_lba; });
  for (size_t i = 1; i < by_start.size(); ++i) {
    faults.Check(by_start[i]->first_lba > by_start[i - 1]->last_lba, "StartingLBA",
                 "partition " + Number(by_start[i]->number) + " overlaps partition " + Number(by_start[i - 1]->number));
  }
}

/// Says so when the header lies where a disk of the other sector size has it.
Result<std::string> ExplainMissingSignature(const GptGeometry& disk, GptCopyKind kind, const BlockReader& read) {
  const std::string plain = "no GPT header";
  if (kind != GptCopyKind::kPrimary) return plain;
  const uint64_t other = disk.sector_size == 512 ? 4096 : 512;
  if (disk.size_bytes < 2 * kMinSectors * 4096) return plain;
  const uint64_t sector_start = other / disk.sector_size * disk.sector_size;
  auto bytes = read(sector_start, disk.sector_size);
  if (!bytes.ok()) return bytes.error();
  const bool found = std::memcmp(bytes.value().data() + (other - sector_start), kSignature, 8) == 0;
  if (!found) return plain;
  return "the header lies at byte " + Number(other) + ": this table was made for sectors of " + Number(other) +
         " bytes, the device has " + Number(disk.sector_size);
}

Result<GptCopy> ReadCopy(const GptGeometry& disk, GptCopyKind kind, const BlockReader& read,
                         std::vector<GptProblem>& problems) {
  GptCopy copy;
  const uint64_t lba = kind == GptCopyKind::kPrimary ? 1 : disk.last_lba();
  auto sector = read(lba * disk.sector_size, disk.sector_size);
  if (!sector.ok()) return sector.error();
  copy.header_sector = std::move(sector).value();
  Faults faults(kind, problems);
  copy.has_signature = std::memcmp(copy.header_sector.data(), kSignature, 8) == 0;
  if (!copy.has_signature) {
    auto why = ExplainMissingSignature(disk, kind, read);
    if (!why.ok()) return why.error();
    faults.Check(false, "Signature", why.value());
    return copy;
  }
  if (!CheckHeaderFrame(copy.header_sector, faults)) return copy;
  copy.header = DecodeHeader(copy.header_sector);
  CheckHeaderFields(disk, kind, copy.header_sector, copy.header, faults);
  copy.header_good = faults.none();
  if (!copy.header_good) return copy;
  const size_t length = static_cast<size_t>(copy.header.entries_sectors(disk.sector_size)) * disk.sector_size;
  auto raw = read(copy.header.entries_lba * disk.sector_size, length);
  if (!raw.ok()) return raw.error();
  copy.entries_raw = std::move(raw).value();
  if (!faults.Check(
          Crc32(copy.entries_raw.data(), copy.header.entries_bytes()) == Get32(copy.header_sector, kAtEntriesCrc),
          "PartitionEntryArrayCRC32", "the entries' checksum does not match their bytes")) {
    return copy;
  }
  copy.entries = DecodeEntries(copy.header, copy.entries_raw);
  CheckEntries(copy.header, copy.entries, faults);
  copy.good = faults.none();
  return copy;
}

enum class MbrKind { kZero, kProtective, kHybrid, kPartitions, kOther };

MbrKind JudgeMbr(const std::vector<uint8_t>& sector, Faults& faults) {
  if (AllZero(std::vector<uint8_t>(sector.begin(), sector.begin() + kMbrBytes))) {
    faults.Check(false, "Signature", "the first sector is empty");
    return MbrKind::kZero;
  }
  if (!faults.Check(sector[kAtMbrSignature] == 0x55 && sector[kAtMbrSignature + 1] == 0xAA, "Signature",
                    "the first sector is no MBR")) {
    return MbrKind::kOther;
  }
  int protective = 0;
  int others = 0;
  for (size_t i = 0; i < 4; ++i) {
    const size_t at = kAtRecords + i * kRecordSize;
    const uint8_t type = sector[at + 4];
    if (type == 0) continue;
    const bool is_protective = type == kProtectiveType && Get32(sector, at + 8) == 1;
    ++(is_protective ? protective : others);
  }
  if (protective > 0) {
    const bool alone = faults.Check(others == 0 && protective == 1, "PartitionRecord",
                                    "a hybrid MBR: it has other partitions beside the protective one");
    return alone ? MbrKind::kProtective : MbrKind::kHybrid;
  }
  faults.Check(false, "OSType",
               others > 0 ? "an MBR partition table, not a protective one" : "no protective partition");
  return others > 0 ? MbrKind::kPartitions : MbrKind::kOther;
}

std::vector<uint8_t> EntryBytes(const GptCopy& copy, uint32_t index) {
  const auto begin = copy.entries_raw.begin() + static_cast<std::ptrdiff_t>(size_t{index} * copy.header.entry_size);
  return std::vector<uint8_t>(begin, begin + copy.header.entry_size);
}

const GptEntry* FindNumber(const GptCopy& copy, uint32_t number) {
  const auto at = std::find_if(copy.entries.begin(), copy.entries.end(),
                               [number](const GptEntry& entry) { return entry.number == number; });
  return at == copy.entries.end() ? nullptr : &*at;
}

void Differ(GptImage& image, const Guid& guid, bool ours) {
  if (std::find(image.differing.begin(), image.differing.end(), guid) == image.differing.end()) {
    image.differing.push_back(guid);
  }
  image.only_ours_differ = image.only_ours_differ && ours;
}

/// Both copies are good: what is not the same in them. Unused entries have no meaning, whatever their other bytes are.
void CompareCopies(GptImage& image) {
  const GptHeader& a = image.primary.header;
  const GptHeader& b = image.backup.header;
  Faults faults(GptCopyKind::kBackup, image.problems);
  image.only_ours_differ = true;
  bool same_header = faults.Check(a.disk_guid == b.disk_guid, "DiskGUID", "differs from the primary's");
  same_header &= faults.Check(a.first_usable_lba == b.first_usable_lba, "FirstUsableLBA", "differs from the primary's");
  same_header &= faults.Check(a.last_usable_lba == b.last_usable_lba, "LastUsableLBA", "differs from the primary's");
  bool same_shape =
      faults.Check(a.entry_count == b.entry_count, "NumberOfPartitionEntries", "differs from the primary's");
  same_shape &= faults.Check(a.entry_size == b.entry_size, "SizeOfPartitionEntry", "differs from the primary's");
  if (!same_header || !same_shape) Differ(image, Guid{}, false);
  if (!same_shape) return;
  for (uint32_t i = 0; i < a.entry_count; ++i) {
    const GptEntry* mine = FindNumber(image.primary, i + 1);
    const GptEntry* other = FindNumber(image.backup, i + 1);
    if (mine == nullptr && other == nullptr) continue;
    if (mine != nullptr && other != nullptr && EntryBytes(image.primary, i) == EntryBytes(image.backup, i)) continue;
    faults.Check(false, "PartitionEntryArray", "partition " + Number(i + 1) + " differs from the primary's");
    if (mine != nullptr) Differ(image, mine->unique, mine->IsOurs());
    if (other != nullptr) Differ(image, other->unique, other->IsOurs());
  }
}

/// What lies where the primary's entries belong is a filesystem: ext2/3/4 has its superblock there (byte 1024) and,
/// made over a GPT, leaves the backup at the end of the disk alone.
bool HoldsExtSuperblock(const std::vector<uint8_t>& first_mib) {
  return first_mib.size() > 1082 && first_mib[1080] == 0x53 && first_mib[1081] == 0xEF;
}

Result<std::vector<uint8_t>> ReadEdge(const GptGeometry& disk, const BlockReader& read, bool at_end) {
  const uint64_t length = std::min(kMiB / disk.sector_size, disk.sectors()) * disk.sector_size;
  return read(at_end ? disk.sectors() * disk.sector_size - length : 0, static_cast<size_t>(length));
}

Result<GptState> JudgeWithoutGoodCopy(const GptGeometry& disk, const BlockReader& read, const GptImage& image) {
  if (image.primary.has_signature || image.backup.has_signature) return GptState::kDamaged;
  const bool other_sector_size =
      std::any_of(image.problems.begin(), image.problems.end(), [](const GptProblem& problem) {
        return problem.field == "Signature" && problem.message.rfind("the header lies", 0) == 0;
      });
  if (other_sector_size) return GptState::kDamaged;
  for (const bool at_end : {false, true}) {
    auto edge = ReadEdge(disk, read, at_end);
    if (!edge.ok()) return edge.error();
    if (!AllZero(edge.value())) return GptState::kForeign;
  }
  return GptState::kBlank;
}

Result<GptState> Judge(const GptGeometry& disk, const BlockReader& read, MbrKind mbr, GptImage& image) {
  const bool primary = image.primary.good;
  const bool backup = image.backup.good;
  if (!primary && !backup) return JudgeWithoutGoodCopy(disk, read, image);
  if (mbr != MbrKind::kProtective && mbr != MbrKind::kZero) return GptState::kForeign;
  if (primary && backup) {
    CompareCopies(image);
    return image.differing.empty() ? GptState::kValid : GptState::kDiffer;
  }
  if (primary) return GptState::kPrimaryOnly;
  auto edge = ReadEdge(disk, read, false);
  if (!edge.ok()) return edge.error();
  if (HoldsExtSuperblock(edge.value())) return GptState::kForeign;
  if (mbr == MbrKind::kZero && !image.primary.has_signature) {
    const uint64_t area =
        std::min<uint64_t>(image.backup.header.first_usable_lba * disk.sector_size, edge.value().size());
    const auto end = edge.value().begin() + static_cast<std::ptrdiff_t>(area);
    if (!AllZero(std::vector<uint8_t>(edge.value().begin(), end))) return GptState::kForeign;
  }
  return GptState::kBackupOnly;
}

}  // namespace

const GptCopy* GptImage::Current() const {
  switch (state) {
    case GptState::kValid:
    case GptState::kDiffer:
    case GptState::kPrimaryOnly:
      return &primary;
    case GptState::kBackupOnly:
      return &backup;
    default:
      return nullptr;
  }
}

Result<GptImage> ReadGptImage(const GptGeometry& geometry, const BlockReader& read) {
  if (geometry.sectors() < kMinSectors) {
    return Failed(EINVAL, "read", "", "the device has only " + Number(geometry.size_bytes) + " bytes");
  }
  GptImage image;
  image.geometry = geometry;
  auto mbr_sector = read(0, geometry.sector_size);
  if (!mbr_sector.ok()) return mbr_sector.error();
  image.mbr_sector = std::move(mbr_sector).value();
  Faults mbr_faults(GptCopyKind::kProtectiveMbr, image.problems);
  const MbrKind mbr = JudgeMbr(image.mbr_sector, mbr_faults);
  image.mbr_good = mbr == MbrKind::kProtective;
  auto primary = ReadCopy(geometry, GptCopyKind::kPrimary, read, image.problems);
  if (!primary.ok()) return primary.error();
  image.primary = std::move(primary).value();
  auto backup = ReadCopy(geometry, GptCopyKind::kBackup, read, image.problems);
  if (!backup.ok()) return backup.error();
  image.backup = std::move(backup).value();
  auto state = Judge(geometry, read, mbr, image);
  if (!state.ok()) return state.error();
  image.state = state.value();
  if (image.state == GptState::kBlank) image.problems.clear();
  return image;
}

std::vector<LbaRange> FreeRanges(const GptImage& image) {
  const GptCopy* current = image.Current();
  if (current == nullptr) return {};
  std::vector<LbaRange> used;
  for (const GptEntry& entry : current->entries) used.push_back({entry.first_lba, entry.last_lba});
  if (image.state == GptState::kDiffer) {
    for (const GptEntry& entry : image.backup.entries) used.push_back({entry.first_lba, entry.last_lba});
  }
  std::sort(used.begin(), used.end(), [](const LbaRange& a, const LbaRange& b) { return a.first < b.first; });
  const uint64_t end = current->header.last_usable_lba + 1;
  used.push_back({end, end});
  const uint64_t step = std::max<uint64_t>(kMiB / image.geometry.sector_size, 1);
  std::vector<LbaRange> free;
  uint64_t at = current->header.first_usable_lba;
  for (const LbaRange& range : used) {
    const uint64_t first = (at + step - 1) / step * step;
    const uint64_t stop = range.first / step * step;
    if (range.first > at && first < stop) free.push_back({first, stop - 1});
    at = std::max(at, range.last + 1);
  }
  return free;
}

}  // namespace meshstor
