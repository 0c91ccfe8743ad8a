// What rules could translate a connection to: the same, remembered or not, and rarely followed.
#include "lb/lab/candidates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/rules/ruleset_text.h"
#include "tests/support/kube_rules.h"
#include "tests/unit/lab/captures.h"

namespace limpet::lab {
namespace {

using datapath::Hook;
using testing::ElementsAre;
using testing::SizeIs;

rules::Ruleset parsed(const std::string& text) {
  rules::ReadRuleset read = rules::parse_ruleset(text);
  for (const auto& error : read.errors) ADD_FAILURE() << store::to_string(error);
  return std::move(read.rules);
}

const node::NodeView& node() {
  static const node::NodeView view(
      {{.interface = 2, .address = ip("10.128.0.5"), .prefix_length = 24}},
      {{.destination = *net::Prefix::parse("0.0.0.0/0"), .interface = 2, .gateway = ip("10.128.0.1")}},
      {{1, "lo"}, {2, "eth0"}, {3, "cali1"}});
  return view;
}

datapath::NewConnection connection(const std::string& from, const std::string& to, std::uint32_t interface = 2) {
  const bool local = node().is_local(at(from).address);
  return {.tuple = tuple(net::Protocol::tcp, from, to),
          .hook = local ? Hook::output : Hook::prerouting,
          .in_interface = local ? 0 : interface,
          .ttl = 64};
}

/// Of every kind of question: some that the source alone answers, some that it shares, some that it has no part in.
const std::string kMixed =
    "-A PREROUTING -d 10.0.0.1/32 -p tcp -m tcp --sport 1:1000 -j DNAT --to-destination 10.1.0.1\n"
    "-A PREROUTING -d 10.0.0.1/32 -p tcp -m multiport --ports 80,2000:3000 -j DNAT --to-destination 10.1.0.2\n"
    "-A PREROUTING -i cali+ -s 10.9.0.0/30 -j MARK --set-xmark 0x1/0x1\n"
    "-A PREROUTING -m mark --mark 0x1/0x1 -m statistic --mode random --probability 0.5 -j X\n"
    "-A PREROUTING -m mark --mark 0x6/0x6 -j DNAT --to-destination 10.1.0.3\n"
    "-A PREROUTING -m addrtype --src-type LOCAL -j DNAT --to-destination 10.1.0.4\n"
    "-A PREROUTING ! -s 10.9.0.2/32 -m recent --rcheck --name L -j DNAT --to-destination 10.1.0.5\n"
    "-A PREROUTING -p tcp -j DNAT --to-destination 10.1.0.6\n"
    "-A X ! -s 10.9.0.1/32 -j RETURN\n-A X -j DNAT --to-destination 10.1.0.7\n"
    "-A OUTPUT -o lo -j DNAT --to-destination 10.1.0.8\n-A OUTPUT -o eth0 -j DNAT --to-destination 10.1.0.9\n";

TEST(Candidates, AreTheSameRememberedOrNot) {
  const rules::Ruleset rules = parsed(kMixed);
  const rules::TableRules& nat = *rules.find(rules::Table::nat);
  Candidates remembering(nat, nullptr);
  pick::Rng rng(1);
  std::size_t compared = 0;
  for (int i = 0; i < 5000; ++i) {
    const std::string from = rng.uniform(8) == 0 ? "10.128.0.5" : "10.9.0." + std::to_string(rng.uniform(6));
    const std::string port = std::to_string(900 + rng.uniform(3) * 1100);
    const std::string to = rng.uniform(5) == 0 ? "10.128.0.5" : "10.0.0." + std::to_string(1 + rng.uniform(2));
    const auto asked = connection(from + ":" + port, to + (rng.uniform(2) == 0 ? ":80" : ":81"),
                                  2 + static_cast<std::uint32_t>(rng.uniform(2)));
    const auto mark = static_cast<std::uint32_t>(rng.uniform(8));
    Candidates fresh(nat, nullptr);
    const Candidates::List& expected = fresh.of(asked, node(), mark);
    const Candidates::List& found = remembering.of(asked, node(), mark);
    ASSERT_EQ(found.endpoints, expected.endpoints) << asked.tuple.to_string() << " mark " << mark;
    compared += found.endpoints.size();
  }
  EXPECT_GT(compared, 5000U) << "most connections have some";
  EXPECT_LT(remembering.followed(), 1000U);
}

TEST(Candidates, AreFollowedOnceForClientsThatAreAlike) {
  const rules::Ruleset rules = parsed(limpet::test::kube_rules(2, 50));
  Candidates candidates(*rules.find(rules::Table::nat), nullptr);
  for (int i = 0; i < 1000; ++i) {
    const std::string client = "203.0." + std::to_string(i / 250) + "." + std::to_string(i % 250) + ":40000";
    EXPECT_THAT(candidates.of(connection(client, "10.96.0.1:80"), node(), 0).endpoints, SizeIs(50));
  }
  EXPECT_EQ(candidates.followed(), 1U);
  candidates.of(connection("10.64.0.7:1", "10.96.0.1:80"), node(), 0);  // a pod, that is an endpoint, too
  candidates.of(connection("203.0.113.1:1", "10.96.0.2:80"), node(), 0);
  EXPECT_EQ(candidates.followed(), 3U);
}

TEST(Candidates, LocalConnectionsLeaveByTheirRoute) {
  const rules::Ruleset rules = parsed(kMixed);
  Candidates candidates(*rules.find(rules::Table::nat), nullptr);
  EXPECT_THAT(candidates.of(connection("10.128.0.5:1", "10.128.0.5:80"), node(), 0).endpoints,
              ElementsAre("10.1.0.8:80"));
  EXPECT_THAT(candidates.of(connection("10.128.0.5:1", "10.0.0.1:80"), node(), 0).endpoints,
              ElementsAre("10.1.0.9:80"));
}

TEST(Candidates, TooManyWaysAreNotACompleteList) {
  // Each rule sets a bit or does not: 2^24 marks.
  std::string text;
  for (int bit = 0; bit < 24; ++bit) {
    text += "-A PREROUTING -m statistic --mode random --probability 0.5 -j MARK --or-mark " + std::to_string(1 << bit) +
            "\n";
  }
  const rules::Ruleset rules = parsed(text + "-A PREROUTING -p tcp -j DNAT --to-destination 10.1.0.1\n");
  Candidates candidates(*rules.find(rules::Table::nat), nullptr);
  EXPECT_FALSE(candidates.of(connection("203.0.113.1:1", "10.0.0.1:80"), node(), 0).complete);
}

}  // namespace
}  // namespace limpet::lab
