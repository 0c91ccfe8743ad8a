// One rule as text: what is printed of it, and what is refused.
#include "lb/rules/rule_text.h"

#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lb/rules/rule_words.h"
#include "tests/unit/rules/rule_samples.h"

namespace limpet::rules {
namespace {

using net::Family;
using testing::HasSubstr;
using testing::StartsWith;

store::Result<Rule> read(const std::string& text, const RulePlace& place) {
  auto words = split_words(text);
  if (!words) return store::Error{store::ErrorKind::configuration, "a quotation mark is not closed"};
  return read_rule(std::move(*words), place);
}

void expect_saved(const std::vector<test::RuleSample>& samples, Family family) {
  for (const test::RuleSample& sample : samples) {
    SCOPED_TRACE(sample.written);
    const auto rule = read(sample.written, {family, sample.table, sample.chain});
    ASSERT_TRUE(rule) << rule.error().message;
    EXPECT_EQ(print(*rule, family, Spelling::as_saved), sample.saved ? sample.saved : sample.written);
  }
}

TEST(RuleText, IsPrintedAsIptablesSaveDoes) {
  expect_saved(test::kV4Samples, Family::v4);
  expect_saved(test::kV6Samples, Family::v6);
}

// What iptables 1.8.9 and the kernel were seen to accept and refuse.
TEST(RuleText, RecordedTextsAreAcceptedOrRefused) {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/data/iptables_rule_texts.json");
  const auto texts = nlohmann::json::parse(file);
  ASSERT_GE(texts.size(), 100U);
  for (const auto& text : texts) {
    SCOPED_TRACE(text.at("rule").get<std::string>());
    const auto rule = read(text.at("rule"), {Family::v4, Table::raw, "OUTPUT"});
    ASSERT_EQ(static_cast<bool>(rule), text.at("accepted").get<bool>()) << (rule ? "" : rule.error().message);
    if (!rule) continue;
    EXPECT_EQ(print(*rule, Family::v4, Spelling::as_saved), text.at("saved").get<std::string>());
  }
}

TEST(RuleText, OldPlaceOfTheExclamationMark) {
  const auto old = read("-s ! 10.0.0.1 -p ! tcp -i ! eth0", {Family::v4, Table::raw, "PREROUTING"});
  ASSERT_TRUE(old) << old.error().message;
  EXPECT_EQ(print(*old, Family::v4), "! -s 10.0.0.1/32 ! -i eth0 ! -p tcp");
}

// A name with a space is readable only between quotation marks, which iptables-save leaves out.
TEST(RuleText, ReadableSpellingIsReadBackAsTheSame) {
  const RulePlace place{Family::v4, Table::raw, "OUTPUT"};
  const std::string text = R"(-m recent --rcheck --seconds 4294967295 --name "a b" --mask 255.255.255.255 --rsource)";
  const auto rule = read(text, place);
  ASSERT_TRUE(rule) << rule.error().message;
  EXPECT_EQ(print(*rule, Family::v4), text);
  EXPECT_EQ(print(*rule, Family::v4, Spelling::as_saved),
            "-m recent --rcheck --seconds -1 --name a b --mask 255.255.255.255 --rsource");
}

struct Refused {
  Table table;
  const char* chain;
  const char* text;
  const char* option;  // that the message begins with
  const char* words;   // that it contains
};

TEST(RuleText, WhatCannotBeHonouredNamesItsOption) {
  const Refused cases[] = {
      {Table::raw, "X", "-m hashlimit --hashlimit-upto 5/sec", "-m hashlimit: ", "cannot honour"},
      {Table::raw, "X", "-p tcp -m tcp --tcp-flags SYN,ACK SYN", "--tcp-flags: ", "no option"},
      {Table::raw, "X", "-p tcp --syn", "--syn: ", "no option"},
      {Table::raw, "X", "-f", "-f: ", "no option"},
      {Table::raw, "X", "-s", "-s: ", "lacks its value"},
      {Table::raw, "X", "-s fd00::1", "-s: ", "no address of this family"},
      {Table::raw, "X", "-s 10.0.0.1,10.0.0.2", "-s: ", "no address"},
      {Table::raw, "X", "-d 10.0.0.0/33", "-d: ", "no address"},
      {Table::raw, "X", "-s 10.0.0.1 -s 10.0.0.2", "-s: ", "given twice"},
      {Table::raw, "X", "-i interface-of-16ch", "-i: ", "15 characters"},
      {Table::raw, "X", "-p 256", "-p: ", "no protocol"},
      {Table::raw, "X", "! -p all", "-p: ", "no packet"},
      {Table::raw, "X", "10.0.0.1", "10.0.0.1: ", "no option"},
      {Table::raw, "X", "-p tcp !", "!: ", "no option"},
      {Table::raw, "X", "! -j ACCEPT", "-j: ", "cannot be inverted"},
      {Table::raw, "X", "-m recent --set ! --rttl", "--rttl: ", "cannot be inverted"},
      {Table::raw, "X", "-m recent --set --set", "--set: ", ""},
      {Table::raw, "X", "-j ACCEPT -j DROP", "-j: ", "another target"},
      {Table::raw, "X", "-j ACCEPT --reject-with tcp-reset", "--reject-with: ", "no option"},
      {Table::raw, "X", "-m tcp --dport 80", "-m tcp: ", "needs -p tcp"},
      {Table::raw, "X", "! -p tcp -m tcp --dport 80", "-m tcp: ", "needs -p tcp"},
      {Table::raw, "X", "-p udp -m tcp --dport 80", "-m tcp: ", "needs -p tcp"},
      {Table::raw, "X", "-p tcp --dport http", "--dport: ", "no port"},
      {Table::raw, "X", "-p tcp --dport 90:80", "--dport: ", "no port"},
      {Table::raw, "X", "-p tcp --dport 65536", "--dport: ", "no port"},
      {Table::raw, "X", "-p icmp -m multiport --dports 80", "-m multiport: ", "needs -p"},
      {Table::raw, "X", "-p tcp -m multiport --dports 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15:16", "--dports: ", "15"},
      {Table::raw, "X", "-m mark --mark 0x100000000", "--mark: ", "no mark"},
      {Table::raw, "X", "-m addrtype --dst-type BLACKHOLE", "--dst-type: ", "BLACKHOLE"},
      {Table::raw, "X", "-m addrtype --dst-type LOCAL --limit-iface-in", "--limit-iface-in: ", "no option"},
      {Table::raw, "X", "-m conntrack --ctstate OLD", "--ctstate: ", "OLD"},
      {Table::raw, "X", "-m conntrack --ctproto 6", "--ctproto: ", "no option"},
      {Table::raw, "X", "-m set --match-set blocked up", "--match-set: ", "src, dst"},
      {Table::raw, "X", "-m statistic --probability 0.5", "-m statistic: ", "--mode"},
      {Table::raw, "X", "-j DNAT --to-destination 10.0.0.1", "-j DNAT: ", "table nat"},
      {Table::nat, "POSTROUTING", "-j DNAT --to-destination 10.0.0.1", "-j DNAT: ", "PREROUTING"},
      {Table::nat, "X", "-j DNAT --to-destination 10.0.0.1:80", "-j DNAT: ", "needs -p"},
      {Table::nat, "X", "-p tcp -j DNAT --to-destination [fd00::1]:80", "--to-destination: ", "no address"},
      {Table::nat, "X", "-p tcp -j DNAT --to-destination 10.0.0.9-10.0.0.1", "--to-destination: ", "no address"},
      {Table::nat, "X", "-p tcp -j DNAT --to-destination 10.0.0.1:0", "--to-destination: ", "no address"},
      {Table::nat, "X", "-j DNAT --to-destination 10.0.0.1 --to-destination 10.0.0.2", "--to-destination: ", "twice"},
      {Table::nat, "X", "-j DNAT", "-j DNAT: ", "--to-destination"},
      {Table::nat, "X", "-j DROP", "-j DROP: ", "filter"},
      {Table::nat, "PREROUTING", "-j MASQUERADE", "-j MASQUERADE: ", "POSTROUTING"},
      {Table::nat, "X", "-j REJECT", "-j REJECT: ", "filter"},
      {Table::filter, "X", "-j REJECT --reject-with icmp6-no-route", "--reject-with: ", "no kind of refusal"},
      {Table::filter, "X", "-j REJECT --reject-with tcp-reset", "--reject-with: ", "-p tcp"},
      {Table::mangle, "X", "-j MARK", "-j MARK: ", "needs one of"},
      {Table::mangle, "X", "-j MARK --or-mark 1/2", "--or-mark: ", "no mark"},
      {Table::mangle, "X", "-j MARK --or-mark 1 --and-mark 2", "--and-mark: ", "another mark"},
      {Table::mangle, "PREROUTING", "-o eth0", "-o: ", "PREROUTING"},
      {Table::mangle, "OUTPUT", "-i eth0", "-i: ", "OUTPUT"},
      {Table::filter, "X", "-j LOG --log-prefix hm", "--log-prefix: ", "no option"},
  };
  for (const Refused& refused : cases) {
    SCOPED_TRACE(refused.text);
    const auto rule = read(refused.text, {Family::v4, refused.table, refused.chain});
    ASSERT_FALSE(rule) << print(*rule, Family::v4);
    EXPECT_THAT(rule.error().message, StartsWith(refused.option));
    EXPECT_THAT(rule.error().message, HasSubstr(refused.words));
  }
}

}  // namespace
}  // namespace limpet::rules
