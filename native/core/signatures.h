#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "native/core/result.h"
#include "native/core/syscalls.h"

namespace meshstor {

/// First and last bytes of a device, at most 1 MiB each; they overlap on a device below 2 MiB.
struct DeviceEdges {
  uint64_t size_bytes = 0;
  std::vector<uint8_t> head;
  std::vector<uint8_t> tail;
};

/// Names of what is recognised, each once, in the order of the prober's table: names as libblkid has them (`xfs`,
/// `ext4`, `ext3`, `ext2`, `btrfs`, `LVM2_member`, `zfs_member`, `ceph_bluestore`, `linux_raid_member`, `gpt`, `dos`,
/// `swap`, `crypto_LUKS`, `bcache`, `bcachefs`, `vfat`, `exfat`, `ntfs`, `f2fs`, `jfs`, `reiserfs`, `hfsplus`,
/// `nilfs2`, `iso9660`, `squashfs`, `erofs`, `stratis`, `drbd`, `isw_raid_member`, `ddf_raid_member`). `unknown` alone
/// when nothing is recognised but a byte is set; empty when every byte is zero. Deliberately looser than libblkid (no
/// checksums): it is asked whether a drive may be written to, and what looks like somebody's data is taken for it.
std::vector<std::string> FindSignatures(const DeviceEdges& edges);

/// Reads the edges of a disk, partition or image with O_DIRECT and looks. Needs read permission. Blocks.
Result<std::vector<std::string>> ReadSignatures(Syscalls& sys, const std::string& path);

}  // namespace meshstor
