// xt_recent's lists as a kernel wrote them (Linux 6.18), and lines that none writes.
#include "lb/rules/recent_file.h"

#include <filesystem>
#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace limpet::rules {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

net::Address address(const char* text) {
  return *net::Address::parse(text);
}

RecentList parse(const std::string& text) {
  return parse_recent("L", text, "/proc/net/xt_recent/L");
}

TEST(RecentFile, OfBothFamilies) {
  const RecentList list = parse(
      "src=10.0.0.1 ttl: 0 last_seen: 4295738616 oldest_pkt: 4 4295738607, 4295738611, 4295738613, 4295738616\n"
      "src=fd01:0000:0000:0000:0000:0000:0000:0002 ttl: 255 last_seen: 12 oldest_pkt: 1 12\n");
  EXPECT_THAT(list.errors, IsEmpty());
  EXPECT_EQ(list.name, "L");
  EXPECT_THAT(list.entries, ElementsAre(RecentEntry{address("10.0.0.1"), 0, 4295738616, 4},
                                        RecentEntry{address("fd01::2"), 255, 12, 1}));
}

// The ring has gone round: the newest stamp stands in the middle.
TEST(RecentFile, TheNewestStampMayStandAnywhere) {
  const RecentList list = parse("src=10.0.0.1 ttl: 64 last_seen: 900 oldest_pkt: 2 800, 900, 300, 400\n");
  EXPECT_THAT(list.entries, ElementsAre(RecentEntry{address("10.0.0.1"), 64, 900, 4}));
}

TEST(RecentFile, AnEmptyListHasNoEntries) {
  EXPECT_THAT(parse("").entries, IsEmpty());
  EXPECT_THAT(parse("").errors, IsEmpty());
}

TEST(RecentFile, EveryOtherLineIsAnError) {
  const char* const kBad[] = {
      "",
      "src=10.0.0.1",
      "10.0.0.1 ttl: 0 last_seen: 1 oldest_pkt: 1 1",
      "src=10.0.0.256 ttl: 0 last_seen: 1 oldest_pkt: 1 1",
      "src=fd01:::2 ttl: 0 last_seen: 1 oldest_pkt: 1 1",
      "src=10.0.0.1 ttl: 256 last_seen: 1 oldest_pkt: 1 1",
      "src=10.0.0.1 ttl: 0 last_seen: -1 oldest_pkt: 1 1",
      "src=10.0.0.1 ttl: 0 last_seen: 99999999999999999999 oldest_pkt: 1 99999999999999999999",
      "src=10.0.0.1 ttl: 0 last_seen: 1 oldest_pkt: 1",
      "src=10.0.0.1 ttl: 0 last_seen: 1 oldest_pkt: 1 1,",
      "src=10.0.0.1 ttl: 0 last_seen: 1 oldest_pkt: 1 1 1",
      "src=10.0.0.1 ttl: 0 last_seen: 1 oldest_pkt: 1 1, two",
      "src=10.0.0.1 ttl: 0 last_seen: 7 oldest_pkt: 1 1, 2",
  };
  for (const std::string line : kBad) {
    const RecentList list = parse("src=10.0.0.9 ttl: 0 last_seen: 1 oldest_pkt: 1 1\n" + line + "\n");
    EXPECT_THAT(list.entries, SizeIs(1)) << line;
    ASSERT_THAT(list.errors, SizeIs(1)) << line;
    EXPECT_THAT(to_string(list.errors.front()), HasSubstr("/proc/net/xt_recent/L:2: '" + line + "' is not"));
  }
}

class RecentFolder : public testing::Test {
 protected:
  RecentFolder() : folder_(std::filesystem::path(testing::TempDir()) / ("recent." + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
  }
  ~RecentFolder() override { std::filesystem::remove_all(folder_); }
  void write(const std::string& name, const std::string& text) { std::ofstream(folder_ / name) << text; }
  std::filesystem::path folder_;
};

TEST_F(RecentFolder, ListsOfThePrefixAreReadByName) {
  write("KUBE-SEP-B", "src=10.0.0.1 ttl: 0 last_seen: 1 oldest_pkt: 1 1\n");
  write("KUBE-SEP-A", "");
  write("sshguard", "src=10.0.0.1 ttl: 0 last_seen: 1 oldest_pkt: 1 1\n");
  const auto lists = read_recent(folder_, "KUBE-SEP-");
  ASSERT_TRUE(lists);
  ASSERT_THAT(*lists, SizeIs(2));
  EXPECT_EQ((*lists)[0].name, "KUBE-SEP-A");
  EXPECT_THAT((*lists)[0].entries, IsEmpty());
  EXPECT_EQ((*lists)[1].name, "KUBE-SEP-B");
  EXPECT_THAT((*lists)[1].entries, SizeIs(1));
}

TEST_F(RecentFolder, AFolderThatIsNotThereIsAnError) {
  const auto lists = read_recent(folder_ / "none", "");
  ASSERT_FALSE(lists);
  EXPECT_EQ(lists.error().kind, store::ErrorKind::unavailable);
  EXPECT_THAT(lists.error().message, HasSubstr("-m recent"));
}

}  // namespace
}  // namespace limpet::rules
