#include <errno.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "native/test/gpt_image.h"

// A power cut after any write, inside any write, and with the writes since the last sync landing in any order (a
// drive's volatile cache), must leave a table that is read, foreign partitions as they were, and a disk on which repair
// and the same call once more lead to the intended end.

namespace meshstor {
namespace {

constexpr char kPath[] = "/dev/memory-disk";

using Bytes = std::vector<uint8_t>;
using Operation = std::function<Status(MemoryDisk&, const GptOptions&)>;

void Apply(Bytes& bytes, const MemoryDisk::Piece& piece, size_t length) {
  std::copy_n(piece.bytes.begin(), length, bytes.begin() + static_cast<std::ptrdiff_t>(piece.offset));
}

/// Calls `visit` with every state in which a cut can leave the disk.
void ForEachCut(const Bytes& start, const std::vector<MemoryDisk::Piece>& writes,
                const std::function<void(const Bytes&)>& visit) {
  visit(start);
  Bytes synced = start;
  Bytes cut;
  for (size_t first = 0; first < writes.size();) {
    size_t end = first;
    while (end < writes.size() && writes[end].epoch == writes[first].epoch) ++end;
    for (size_t subset = 1; subset < (size_t{1} << (end - first)); ++subset) {
      cut = synced;
      for (size_t i = first; i < end; ++i) {
        if ((subset >> (i - first) & 1) != 0) Apply(cut, writes[i], writes[i].bytes.size());
      }
      visit(cut);
    }
    for (size_t i = first; i < end; ++i) {
      const size_t step = writes[i].bytes.size() > 65536 ? 262144 : 512;
      for (size_t length = step; length < writes[i].bytes.size(); length += step) {
        cut = synced;
        Apply(cut, writes[i], length);
        visit(cut);
      }
      Apply(synced, writes[i], writes[i].bytes.size());
    }
    first = end;
  }
}

/// Foreign entries (as bytes) and the data of the foreign partitions.
bool ForeignUnchanged(const Bytes& before, const Bytes& after, const GptImage& image, uint32_t sector_size) {
  const GptCopy& table = *image.Current();
  const Bytes was(before.begin() + 2 * sector_size, before.begin() + 2 * sector_size + 256);
  const Bytes is(table.entries_raw.begin(), table.entries_raw.begin() + 256);
  if (was != is) return false;
  const auto same = [&](uint64_t start_mib, uint64_t size_mib) {
    const auto from = static_cast<std::ptrdiff_t>(start_mib * kTestMiB);
    const auto to = static_cast<std::ptrdiff_t>((start_mib + size_mib) * kTestMiB);
    return std::memcmp(before.data() + from, after.data() + from, static_cast<size_t>(to - from)) == 0;
  };
  return same(1, 2) && same(8, 1);
}

class PowerCut : public testing::TestWithParam<uint32_t> {
 protected:
  /// Cuts `operation` everywhere; `foreign` is whether TableImage's foreign partitions are on the disk.
  void CutEverywhere(const Bytes& start, const Operation& operation, bool foreign) {
    MemoryDisk disk(start, GetParam(), false);
    ASSERT_TRUE(operation(disk, OptionsFor(disk, GetParam())).ok());
    const GptImage intended = Judge(disk.content, GetParam());
    ASSERT_EQ(intended.state, GptState::kValid);
    MemoryDisk machine(start, GetParam(), false);
    size_t cuts = 0;
    ForEachCut(start, disk.writes, [&](const Bytes& cut) {
      ++cuts;
      machine.content = cut;
      if (!HasFatalFailure()) CheckCut(start, machine, operation, intended, foreign);
    });
    EXPECT_GT(cuts, disk.writes.size());
  }

 private:
  void CheckCut(const Bytes& start, MemoryDisk& machine, const Operation& operation, const GptImage& intended,
                bool foreign) {
    const GptOptions options = OptionsFor(machine, GetParam());
    const GptImage image = Judge(machine.content, GetParam());
    machine.writes.clear();
    machine.events.clear();
    if (image.state == GptState::kBlank) {
      ASSERT_FALSE(foreign);
    } else {
      ASSERT_NE(image.Current(), nullptr) << "unreadable: " << StateName(image.state);
      if (foreign) {
        ASSERT_TRUE(ForeignUnchanged(start, machine.content, image, GetParam()));
      }
      ASSERT_TRUE(RepairGpt(machine, kPath, options).ok()) << StateName(image.state);
      ASSERT_EQ(Judge(machine.content, GetParam()).state, GptState::kValid);
    }
    const Status again = operation(machine, options);
    const bool initialized = !again.ok() && again.error().err == EEXIST && !foreign;
    ASSERT_TRUE(again.ok() || initialized);
    const GptImage after = Judge(machine.content, GetParam());
    ASSERT_EQ(after.state, GptState::kValid);
    ASSERT_TRUE(after.mbr_good);
    ASSERT_EQ(after.primary.entries_raw, intended.primary.entries_raw);
    if (foreign) {
      ASSERT_TRUE(ForeignUnchanged(start, machine.content, after, GetParam()));
    }
  }
};

TEST_P(PowerCut, Add) {
  CutEverywhere(
      TableImage(GetParam()),
      [](MemoryDisk& disk, const GptOptions& options) -> Status {
        auto added = AddGptPartition(disk, kPath, Wanted(9, 6, 2, "meshstor-new"), options);
        if (!added.ok()) return added.error();
        return Ok();
      },
      true);
}

TEST_P(PowerCut, Remove) {
  CutEverywhere(
      TableImage(GetParam()),
      [](MemoryDisk& disk, const GptOptions& options) {
        return RemoveGptPartition(disk, kPath, NumberedGuid(3), options);
      },
      true);
}

TEST_P(PowerCut, Grow) {
  CutEverywhere(
      TableImage(GetParam()),
      [](MemoryDisk& disk, const GptOptions& options) {
        return ResizeGptPartition(disk, kPath, NumberedGuid(3), 4 * kTestMiB, options);
      },
      true);
}

TEST_P(PowerCut, Shrink) {
  CutEverywhere(
      TableImage(GetParam()),
      [](MemoryDisk& disk, const GptOptions& options) {
        return ResizeGptPartition(disk, kPath, NumberedGuid(3), 1 * kTestMiB, options);
      },
      true);
}

TEST_P(PowerCut, RepairOfEitherCopy) {
  for (const bool primary : {true, false}) {
    Bytes start = TableImage(GetParam());
    const size_t header = primary ? GetParam() : start.size() - GetParam();
    const size_t entries = primary ? 2 * GetParam() : start.size() - GetParam() - 16384;
    start[header + 60] ^= 1;
    start[entries + 256 + 60] ^= 1;
    Bytes reference = TableImage(GetParam());
    MemoryDisk disk(start, GetParam(), false);
    ASSERT_TRUE(RepairGpt(disk, kPath, OptionsFor(disk, GetParam())).ok());
    EXPECT_EQ(disk.content, reference) << "repair restores every byte";
    CutEverywhere(
        start, [](MemoryDisk& d, const GptOptions& options) { return RepairGpt(d, kPath, options); }, true);
  }
}

TEST_P(PowerCut, RepairOfADifference) {
  Bytes start = TableImage(GetParam());
  ChangeCopy(start, GetParam(), false, [](Bytes&, Bytes& e) { std::fill_n(e.begin() + 256, 128, uint8_t{0}); });
  ASSERT_EQ(Judge(start, GetParam()).state, GptState::kDiffer);
  CutEverywhere(
      start, [](MemoryDisk& disk, const GptOptions& options) { return RepairGpt(disk, kPath, options); }, true);
}

TEST_P(PowerCut, Initialize) {
  CutEverywhere(
      Bytes(16 * kTestMiB),
      [](MemoryDisk& disk, const GptOptions& options) {
        return InitializeGpt(disk, kPath, NumberedGuid(200), options);
      },
      false);
}

INSTANTIATE_TEST_SUITE_P(SectorSizes, PowerCut, testing::Values(512U, 4096U));

}  // namespace
}  // namespace meshstor
