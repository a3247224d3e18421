#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/sysfs.h"

namespace meshstor {

/// A member of an array, from `md/dev-NAME`.
struct MdMember {
  std::string name;
  std::string path;
  std::string dev_number;
  std::optional<uint64_t> slot;
  std::vector<std::string> state;
  uint64_t errors = 0;
};

/// An array, from `/sys/block/mdN`. Field meanings: `MdArray` of src/api/kernel.ts, Documentation/admin-guide/md.rst.
struct MdArray {
  std::string name;
  std::string path;
  std::string dev_number;
  std::optional<std::string> uuid;
  std::string array_state;
  std::string level;
  uint64_t raid_disks = 0;
  uint64_t degraded = 0;
  std::string metadata_version;
  uint64_t size_bytes = 0;
  std::string sync_action;  ///< `unknown` when it cannot be read: nothing may be concluded from it
  std::optional<uint64_t> sync_done_sectors;
  std::optional<uint64_t> sync_total_sectors;
  std::optional<uint64_t> sync_speed;  ///< KiB/s
  std::string sync_max;
  std::string resync_start;  ///< `none`, or the sector at which a resync has to begin
  std::vector<MdMember> members;
  std::vector<std::string> holders;
  std::vector<std::string> mount_points;
};

/// Any of md's notations of a UUID (`1234abcd-…`, `1234abcd:5678…`, bare) as lower-case, dashed text; empty when `text`
/// is none, or all zero.
std::string NormalizeMdUuid(const std::string& text);

/// Every array the kernel has, sorted by name. Reads attributes only, which answer also while a member's path is
/// queueing. An array that goes away meanwhile is left out, so is a member. Without md in the kernel there is none.
/// Does not block. A kernel without `md/uuid` is asked for a member's superblock instead.
Result<std::vector<MdArray>> ReadMdArrays(const Sysfs& sysfs);

/// Time that the kernel gets for a change. A queueing member makes md wait for it.
inline constexpr std::chrono::milliseconds kMdWriteLimit{10000};
inline constexpr std::chrono::milliseconds kMdStopLimit{30000};

// The changes run in a child with a limit (bounded_child.h): ETIMEDOUT after it. Root. Names with a `/` are EINVAL.

/// Writes one word, in the notation in which it is read, to `md/dev-MEMBER/state`. EBUSY for `remove` of a member in
/// use, EINVAL for a word that does not apply now, ENOENT without such a member.
Status SetMdMemberState(const Sysfs& sysfs, const std::string& array, const std::string& member,
                        const std::string& word, std::chrono::milliseconds limit = kMdWriteLimit);

/// Writes `md/ATTRIBUTE`. The errno is that of md's store function (EINVAL, EBUSY, EEXIST).
Status SetMdAttribute(const Sysfs& sysfs, const std::string& array, const std::string& attribute,
                      const std::string& value, std::chrono::milliseconds limit = kMdWriteLimit);

/// STOP_ARRAY, then waits until sysfs agrees that it is no array any more. Gone already is success; EBUSY while
/// somebody holds it open. A resync that runs is interrupted and goes on at the next assembly.
Status StopMdArray(const Sysfs& sysfs, const std::string& array, std::chrono::milliseconds limit = kMdStopLimit);

}  // namespace meshstor
