#include "native/core/sysfs.h"

#include <errno.h>
#include <gtest/gtest.h>

#include "native/test/temp_tree.h"

namespace meshstor {
namespace {

TEST(Sysfs, ReadsAnAttributeWithoutItsLineEnd) {
  TempTree tree;
  tree.File("/sys/block/x/size", "2048\n");
  tree.File("/sys/block/x/model", "  Big Drive   \n");
  const Sysfs sysfs(RealSyscalls(), tree.root());
  EXPECT_EQ(sysfs.ReadUint("/sys/block/x/size").value(), 2048u);
  EXPECT_EQ(sysfs.Read("/sys/block/x/model").value(), "  Big Drive");
  EXPECT_EQ(sysfs.ReadOr("/sys/block/x/none", "-"), "-");
}

TEST(Sysfs, NamesTheFileThatIsNoNumber) {
  TempTree tree;
  tree.File("/n", "12x\n");
  const Sysfs sysfs(RealSyscalls(), tree.root());
  auto value = sysfs.ReadUint("/n");
  ASSERT_FALSE(value.ok());
  EXPECT_EQ(value.error().err, EBADMSG);
  EXPECT_EQ(value.error().path, tree.root() + "/n");
}

TEST(Sysfs, ListsSortedAndTellsAMissingDirectory) {
  TempTree tree;
  tree.Dir("/d/b");
  tree.Dir("/d/a");
  tree.Link("/d/c", "../gone");
  const Sysfs sysfs(RealSyscalls(), tree.root());
  EXPECT_EQ(sysfs.List("/d").value(), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(sysfs.List("/none").error().err, ENOENT);
  EXPECT_TRUE(sysfs.ListOrEmpty("/none").empty());
  EXPECT_TRUE(sysfs.Exists("/d/c"));
  EXPECT_FALSE(sysfs.Exists("/d/d"));
  EXPECT_EQ(sysfs.ReadLink("/d/c").value(), "../gone");
}

TEST(Sysfs, WritesAnExistingAttributeOnly) {
  TempTree tree;
  tree.File("/attr", "");
  const Sysfs sysfs(RealSyscalls(), tree.root());
  EXPECT_TRUE(sysfs.Write("/attr", "idle").ok());
  EXPECT_EQ(tree.Content("/attr"), "idle");
  EXPECT_EQ(sysfs.Write("/missing", "idle").error().err, ENOENT);
  EXPECT_FALSE(sysfs.Exists("/missing"));
}

TEST(ParseUint, TakesOnlyWholeNumbersThatFit) {
  EXPECT_EQ(ParseUint("18446744073709551615", "n").value(), UINT64_MAX);
  for (const char* bad : {"", "-1", " 1", "1 ", "0x10", "18446744073709551616", "99999999999999999999999"}) {
    EXPECT_FALSE(ParseUint(bad, "n").ok()) << bad;
  }
}

TEST(Text, SplitsWordsAndLines) {
  EXPECT_EQ(SplitWords("  a b\t\tc\n"), (std::vector<std::string>{"a", "b", "c"}));
  EXPECT_EQ(SplitLines("a\n\nb"), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(SplitLines("a\n"), (std::vector<std::string>{"a"}));
  EXPECT_EQ(Trim(" x y \n"), "x y");
}

}  // namespace
}  // namespace meshstor
