// /proc/net/xt_recent/NAME: lines as Linux 6.18 wrote them, and the commands that it takes.
#include "lb/affinity/recent_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/affinity/recent_fixture.h"

namespace limpet::affinity {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Verb = RecentCommand::Verb;

TEST(RecentText, AListAsTheKernelShowsIt) {
  RecentTable table({}, kSet);
  table.match(kSet, from("127.9.0.0"), 4295010089);
  table.match(kSet, from("fd01:abcd::2", 255), 12);
  for (const std::uint64_t t : {4295738607U, 4295738616U}) table.add(address("10.0.0.1"), t);
  EXPECT_EQ(to_text(table),
            "src=127.9.0.0 ttl: 64 last_seen: 4295010089 oldest_pkt: 1 4295010089\n"
            "src=fd01:abcd:0000:0000:0000:0000:0000:0002 ttl: 255 last_seen: 12 oldest_pkt: 1 12\n"
            "src=10.0.0.1 ttl: 0 last_seen: 4295738616 oldest_pkt: 2 4295738607, 4295738616\n");
}

TEST(RecentText, LastSeenIsTheNewestSlotNotTheLast) {
  const RecentRecord round{address("10.0.0.1"), 64, 2, 6, {5, 6, 3, 4}};
  EXPECT_EQ(to_line(round), "src=10.0.0.1 ttl: 64 last_seen: 6 oldest_pkt: 2 5, 6, 3, 4\n");
}

TEST(RecentText, Commands) {
  struct Case {
    std::string text;
    Verb verb;
    const char* address;
  };
  const Case cases[] = {
      {"+10.0.0.1", Verb::add, "10.0.0.1"},
      {"+10.0.0.1\n", Verb::add, "10.0.0.1"},
      {"+10.0.0.1\nwhatever: follows", Verb::add, nullptr},  // a colon: it is read as IPv6
      {"+10.0.0.1\nwhatever follows", Verb::add, "10.0.0.1"},
      {"-010.000.0.01", Verb::erase, "10.0.0.1"},
      {"+fd00::1", Verb::add, "fd00::1"},
      {"-fd00:0000:0000:0000:0000:0000:0000:0001\n", Verb::erase, "fd00::1"},
      {"+::ffff:10.0.0.1", Verb::add, "::ffff:10.0.0.1"},
      {std::string("+10.0.0.1\0junk", 14), Verb::add, "10.0.0.1"},
      {"+10.0.0.1" + std::string(60, '\n'), Verb::add, "10.0.0.1"},
      {"", Verb::add, nullptr},
      {"10.0.0.1", Verb::add, nullptr},
      {" +10.0.0.1", Verb::add, nullptr},
      {"+", Verb::add, nullptr},
      {"+10.0.0", Verb::add, nullptr},
      {"+10.0.0.", Verb::add, nullptr},
      {"+10.0.0.1.", Verb::add, nullptr},
      {"+10..0.1", Verb::add, nullptr},
      {"+10.0.0.256", Verb::add, nullptr},
      {"+10.0.0.1 ", Verb::add, nullptr},
      {"+10.0.0.1/24", Verb::add, nullptr},
      {"+fd00::1::2", Verb::add, nullptr},
      {"clear", Verb::add, nullptr},
  };
  for (const Case& c : cases) {
    const auto command = parse_recent_command(c.text);
    ASSERT_EQ(command.has_value(), c.address != nullptr) << c.text;
    if (!command) continue;
    EXPECT_EQ(*command, (RecentCommand{c.verb, address(c.address)})) << c.text;
  }
  for (const char* flush : {"/", "/\n", "/whatever"}) {
    ASSERT_TRUE(parse_recent_command(flush)) << flush;
    EXPECT_EQ(parse_recent_command(flush)->verb, Verb::flush);
  }
}

TEST(RecentText, WritesDoWhatTheySay) {
  RecentTable table({}, kSet);
  EXPECT_TRUE(write(table, "+10.0.0.1\n", 5));
  EXPECT_TRUE(write(table, "+10.0.0.1\n", 7));
  EXPECT_TRUE(write(table, "+fd00::1\n", 8));
  EXPECT_TRUE(write(table, "-10.0.0.9\n", 8)) << "it was not there: no error";
  EXPECT_THAT(table.records(), ElementsAre(RecentRecord{address("10.0.0.1"), 0, 2, 7, {5, 7}},
                                           RecentRecord{address("fd00::1"), 0, 1, 8, {8}}));
  EXPECT_TRUE(write(table, "-10.0.0.1", 9));
  EXPECT_THAT(order(table), ElementsAre("fd00::1"));
  const auto bad = write(table, "clear\n", 9);
  ASSERT_FALSE(bad);
  EXPECT_THAT(bad.error().message, HasSubstr("list 'L': 'clear' is no command; write +ADDRESS"));
  EXPECT_TRUE(write(table, "/\n", 9));
  EXPECT_TRUE(table.records().empty());
}

}  // namespace
}  // namespace limpet::affinity
