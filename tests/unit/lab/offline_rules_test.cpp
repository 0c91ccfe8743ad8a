// Which packet reaches which queue: the table of lb/divert/rules.h, row by row.
#include "lb/lab/offline_rules.h"

#include <gtest/gtest.h>

#include "tests/unit/lab/captures.h"

namespace limpet::lab {
namespace {

using datapath::Hook;
using net::Protocol;
using Kind = PacketFacts::Kind;

constexpr std::uint32_t kMark = 0x1000;

datapath::DiversionPlan plan() {
  datapath::DiversionPlan plan;
  plan.services = {{Protocol::icmp, {ip("10.96.0.10"), 0x0800}},
                   {Protocol::tcp, at("10.96.0.10:80")},
                   {Protocol::tcp, at("127.0.0.1:30000")}};
  plan.endpoints = {{Protocol::tcp, at("10.2.0.1:8080")}};
  plan.locals = {ip("10.1.0.1")};
  return plan;
}

struct Row {
  Kind kind;
  net::Tuple tuple;
  std::uint32_t mark;
  const char* hooks;  // of "POIX": PREROUTING, OUTPUT, INPUT, POSTROUTING
};

std::string hooks_of(const OfflineRules& rules, const Row& row) {
  const PacketFacts facts{.kind = row.kind, .tuple = row.tuple, .quoted = {}, .detail = {}};
  std::string hooks;
  const std::pair<char, Hook> all[] = {
      {'P', Hook::prerouting}, {'O', Hook::output}, {'I', Hook::input}, {'X', Hook::postrouting}};
  for (const auto& [letter, hook] : all) {
    if (rules.divert(facts, hook, row.mark)) hooks += letter;
  }
  return hooks;
}

TEST(OfflineRules, are_those_that_are_installed) {
  const OfflineRules rules(plan(), kMark, false);
  const net::Tuple icmp{Protocol::icmp, {ip("10.9.0.1"), 0}, {ip("10.9.0.2"), 0}};
  const Row rows[] = {
      {Kind::transport, tuple(Protocol::tcp, "10.9.0.1:1", "10.96.0.10:80"), 0, "PO"},
      {Kind::first_fragment, tuple(Protocol::tcp, "10.9.0.1:1", "10.96.0.10:80"), 0, "PO"},
      {Kind::transport, tuple(Protocol::tcp, "10.9.0.1:1", "10.96.0.10:81"), 0, ""},
      {Kind::transport, tuple(Protocol::udp, "10.9.0.1:1", "10.96.0.10:80"), 0, ""},
      {Kind::transport, tuple(Protocol::tcp, "10.9.0.1:1", "127.0.0.1:30000"), 0, "O"},
      {Kind::transport, tuple(Protocol::tcp, "10.9.0.1:1", "10.2.0.1:8080"), 0, ""},
      {Kind::transport, tuple(Protocol::tcp, "10.9.0.1:1", "10.2.0.1:8080"), kMark, "X"},
      {Kind::transport, tuple(Protocol::tcp, "10.2.0.1:8080", "10.9.0.1:1"), 0, "IX"},
      {Kind::transport, tuple(Protocol::tcp, "10.2.0.1:8080", "10.1.0.1:1"), 0, "PIX"},
      {Kind::transport, tuple(Protocol::tcp, "10.2.0.1:8081", "10.1.0.1:1"), 0, ""},
      {Kind::icmp_error, icmp, 0, "POIX"},
      {Kind::echo_request, {Protocol::icmp, {ip("10.9.0.1"), 0}, {ip("10.96.0.10"), 0x0800}}, 0, "PO"},
      {Kind::echo_request, {Protocol::icmp, {ip("10.9.0.1"), 0}, {ip("10.96.0.11"), 0x0800}}, 0, ""},
      {Kind::other, icmp, 0, ""},
      {Kind::later_fragment, tuple(Protocol::tcp, "10.9.0.1:0", "10.96.0.10:0"), 0, "P"},
      {Kind::later_fragment, tuple(Protocol::tcp, "10.9.0.1:0", "10.1.0.1:0"), 0, "P"},
      {Kind::later_fragment, tuple(Protocol::tcp, "10.2.0.1:0", "10.9.0.1:0"), 0, "X"},
      {Kind::unreadable, {}, kMark, ""},
  };
  for (const Row& row : rows) {
    EXPECT_EQ(hooks_of(rules, row), row.hooks) << row.tuple.to_string() << " kind " << static_cast<int>(row.kind);
  }
}

TEST(OfflineRules, bring_what_is_no_services_to_be_refused) {
  datapath::DiversionPlan strict = plan();
  strict.addresses = {ip("10.97.0.1")};
  strict.prefixes = {*net::Prefix::parse("10.96.0.0/16")};
  const OfflineRules rules(strict, kMark, false);
  const Row rows[] = {
      {Kind::transport, tuple(Protocol::tcp, "10.9.0.1:1", "10.96.0.10:81"), 0, "PO"},
      {Kind::transport, tuple(Protocol::udp, "10.9.0.1:1", "10.97.0.1:1"), 0, "PO"},
      {Kind::later_fragment, tuple(Protocol::udp, "10.9.0.1:0", "10.97.0.1:0"), 0, "PO"},
      {Kind::transport, tuple(Protocol::udp, "10.9.0.1:1", "10.97.0.2:1"), 0, ""},
      {Kind::echo_request, {Protocol::icmp, {ip("10.9.0.1"), 0}, {ip("10.97.0.1"), 0x0800}}, 0, ""},
  };
  for (const Row& row : rows) EXPECT_EQ(hooks_of(rules, row), row.hooks) << row.tuple.to_string();
}

TEST(OfflineRules, divert_direct_connections_if_asked_to) {
  const OfflineRules rules(plan(), kMark, true);
  EXPECT_EQ(hooks_of(rules, {Kind::transport, tuple(Protocol::tcp, "10.9.0.1:1", "10.2.0.1:8080"), 0, ""}), "PO");
}

}  // namespace
}  // namespace limpet::lab
