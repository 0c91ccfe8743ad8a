// The Diverter against the kernel: what it adds, that it adds it once, and that nothing of it stays.
#include <optional>
#include <ostream>
#include <set>
#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <unistd.h>

#include "lb/divert/diverter.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using divert::Backend;
using divert::Diverter;
using divert::Sets;

L4Address tcp(const char* at) {
  return {net::Protocol::tcp, *net::AddressPort::parse(at)};
}
L4Address udp(const char* at) {
  return {net::Protocol::udp, *net::AddressPort::parse(at)};
}
net::Address ip(const char* text) {
  return *net::Address::parse(text);
}

DiversionPlan both_families() {
  return {.services = {tcp("10.1.0.1:31332"), tcp("10.96.0.1:80"), tcp("[fd00:96::1]:80"), udp("10.96.0.10:53")},
          .endpoints = {tcp("10.2.0.2:8080"), tcp("[fd00:2::2]:8080"), udp("10.2.0.3:53")},
          .locals = {ip("10.1.0.1"), ip("fd00:1::1")}};
}

/// A save's lines without comments, counters, and tables that hold no rule and no chain of their own.
std::string without_noise(const std::string& saved) {
  std::istringstream lines(saved);
  std::string kept;
  std::string table;
  bool empty = true;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == '*') table.clear(), empty = true;
    if (line[0] == ':') line = line.substr(0, line.find('['));
    const bool base_chain = line[0] == ':' && line.find(" - ") == line.npos;
    if (line[0] == '-' || (line[0] == ':' && !base_chain)) empty = false;
    table += line + "\n";
    if (line == "COMMIT" && !empty) kept += table;
  }
  return kept;
}

/// `ipset save` in an order of its own, without each set's random seed (ipset orders elements by it).
std::string sorted_sets() {
  std::istringstream lines(must("ipset save"));
  std::set<std::string> sorted;
  for (std::string line; std::getline(lines, line);) sorted.insert(line.substr(0, line.find(" bucketsize")));
  std::string text;
  for (const std::string& line : sorted) text += line + "\n";
  return text;
}

/// All that limpet could have touched.
std::string machine_state() {
  std::string state;
  for (const char* tool :
       {"iptables-nft-save", "iptables-legacy-save", "ip6tables-nft-save", "ip6tables-legacy-save"}) {
    state += std::string("== ") + tool + "\n" + without_noise(attempt(tool));
  }
  state += "== ipset\n" + sorted_sets();
  state += "== routes\n" + must("ip route show table all") + must("ip -6 route show table all");
  return state + "== sysctl\n" + must("sysctl -a --pattern ^net\\.ipv[46]\\.(conf|ip_|neigh|route)");
}

std::size_t count(const std::string& text, const std::string& what) {
  std::size_t found = 0;
  for (auto at = text.find(what); at != text.npos; at = text.find(what, at + 1)) ++found;
  return found;
}

void set_up_node() {
  must("ip link add name ifa type veth peer name ifb");
  // No link-local addresses: they would appear when duplicate detection ends, some time during the test.
  must("ip link set ifa addrgenmode none");
  must("ip link set ifb addrgenmode none");
  must("ip link set ifa up");
  must("ip link set ifb up");
  must("ip addr add 10.1.0.1/24 dev ifa");
  must("ip addr add fd00:1::1/64 dev ifa nodad");
}

/// Rules, sets and routes of somebody else, some of them much like limpet's.
void set_up_others(const std::string& tables) {
  must(tables + " -t raw -A PREROUTING -p tcp --dport 80 -j ACCEPT");
  must(tables + " -t raw -N LIMPET-ISLAND");
  must(tables + " -t raw -A LIMPET-ISLAND -p udp -j ACCEPT");
  must(tables + " -t mangle -A POSTROUTING -o ifa -j MARK --set-mark 7");
  must(tables + " -t filter -A FORWARD -s 192.0.2.0/24 -j DROP");
  attempt("ipset create limpet4-others hash:ip");
  must("ip route add 192.0.2.0/24 dev ifa proto static");
}

struct Case {
  const char* name;
  Backend backend;
  const char* tool;  // IPv4
  const char* tool6;
  Sets sets;
  Privilege privilege;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

class Rules : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(GetParam().privilege); !reason.empty()) GTEST_SKIP() << reason;
    set_up_node();
    set_up_others(GetParam().tool);
    auto opened = Diverter::open(options());
    ASSERT_TRUE(opened) << opened.error().message;
    diverter_.emplace(std::move(*opened));
  }

  static divert::Options options() {
    return {.backend = GetParam().backend, .sets = GetParam().sets, .short_list = 0, .queue_count = 2};
  }
  bool sets() const { return GetParam().sets == Sets::automatic; }
  static std::string rules() {
    return attempt(std::string(GetParam().tool) + "-save") + attempt(std::string(GetParam().tool6) + "-save");
  }
  void remove_all() {
    const auto requests = diverter_->remove_requests();
    EXPECT_TRUE(requests) << requests.error().message;
    const auto replies = diverter_->remove_replies();
    EXPECT_TRUE(replies) << replies.error().message;
  }
  void apply(const DiversionPlan& plan) {
    const auto done = diverter_->apply(plan);
    ASSERT_TRUE(done) << done.error().message;
  }

  std::optional<Diverter> diverter_;
};

TEST_P(Rules, CleanUpRestoresTheMachine) {
  const std::string before = machine_state();
  apply(both_families());
  EXPECT_EQ(diverter_->backend(), GetParam().tool);
  EXPECT_EQ(diverter_->uses_sets(net::Family::v4), sets());
  EXPECT_EQ(diverter_->uses_sets(net::Family::v6), sets());
  EXPECT_NE(machine_state(), before);
  // Two families, four hooks.
  EXPECT_EQ(count(rules(), " -j LIMPET-PREROUTING") + count(rules(), " -j LIMPET-OUTPUT") +
                count(rules(), " -j LIMPET-POSTROUTING") + count(rules(), " -j LIMPET-INPUT"),
            8U);
  remove_all();
  EXPECT_EQ(machine_state(), before);
  remove_all();
  EXPECT_EQ(machine_state(), before) << "removing nothing changes nothing";
}

TEST_P(Rules, ApplyingTwiceIsApplyingOnce) {
  apply(both_families());
  const std::string once = machine_state();
  apply(both_families());
  EXPECT_EQ(machine_state(), once);
}

TEST_P(Rules, StandsBeforeOtherRules) {
  apply(both_families());
  must(std::string(GetParam().tool) + " -t raw -I PREROUTING 1 -s 192.0.2.1 -j ACCEPT");
  apply(both_families());
  const std::string saved = must(std::string(GetParam().tool) + "-save -t raw");
  EXPECT_LT(saved.find("-A PREROUTING -j LIMPET-PREROUTING"), saved.find("-A PREROUTING -s 192.0.2.1"));
}

TEST_P(Rules, UpdateEqualsApplyingTheNewPlan) {
  DiversionPlan changed = both_families();
  changed.services = {tcp("10.96.0.1:81"), tcp("[fd00:96::1]:80"), udp("10.96.0.10:53")};
  changed.endpoints.insert(changed.endpoints.begin(), tcp("10.2.0.1:8080"));
  apply(both_families());
  const auto updated = diverter_->update(changed);
  ASSERT_TRUE(updated) << updated.error().message;
  const std::string after_update = machine_state();
  remove_all();
  apply(changed);
  EXPECT_EQ(after_update, machine_state());
}

TEST_P(Rules, UpdateRepairsWhatAnotherHandBroke) {
  apply(both_families());
  if (sets()) {
    must("ipset swap limpet4-services limpet4-endpoints");
    must("ipset flush limpet4-services");
  } else {
    must(std::string(GetParam().tool) + " -t raw -F LIMPET-PREROUTING");
  }
  DiversionPlan larger = both_families();
  for (std::uint16_t port = 1; port <= 1100; ++port) {  // more than the 1024 that a set was made for
    larger.endpoints.push_back({net::Protocol::udp, {ip("10.2.0.4"), port}});
  }
  const auto updated = diverter_->update(larger);
  ASSERT_TRUE(updated) << updated.error().message;
  const std::string after_update = machine_state();
  remove_all();
  apply(larger);
  EXPECT_EQ(after_update, machine_state());
}

TEST_P(Rules, FamiliesComeAndGo) {
  DiversionPlan only_v4 = both_families();
  only_v4.services = {tcp("10.96.0.1:80")};
  only_v4.endpoints = {tcp("10.2.0.2:8080")};
  const std::string tool6 = std::string(GetParam().tool6) + "-save";
  apply(only_v4);
  EXPECT_EQ(count(attempt(tool6), "LIMPET-"), 0U);
  ASSERT_TRUE(diverter_->update(both_families()));
  EXPECT_NE(count(attempt(tool6), "LIMPET-"), 0U);
  ASSERT_TRUE(diverter_->update(only_v4));
  EXPECT_EQ(count(attempt(tool6), "LIMPET-"), 0U);
  EXPECT_EQ(count(must("ipset list -n"), "limpet6-"), 0U);
}

TEST_P(Rules, RequestsGoBeforeReplies) {
  apply(both_families());
  ASSERT_TRUE(diverter_->remove_requests());
  EXPECT_EQ(count(rules(), " -j LIMPET-PREROUTING") + count(rules(), " -j LIMPET-OUTPUT"), 0U);
  EXPECT_EQ(count(rules(), " -j LIMPET-POSTROUTING") + count(rules(), " -j LIMPET-INPUT"), 4U);
}

TEST_P(Rules, RemovesWhatTheOtherVariantHolds) {
  const bool nft = GetParam().backend == Backend::iptables_nft;
  auto other_options = options();
  other_options.backend = nft ? Backend::iptables_legacy : Backend::iptables_nft;
  auto other = Diverter::open(other_options);
  ASSERT_TRUE(other) << other.error().message;
  const auto applied = other->apply(both_families());
  ASSERT_TRUE(applied) << applied.error().message;
  apply(both_families());
  EXPECT_EQ(count(attempt(nft ? "iptables-legacy-save" : "iptables-nft-save"), " -j LIMPET-"), 0U);
  EXPECT_NE(count(rules(), " -j LIMPET-"), 0U);
}

std::string route_localnet() {
  return must("sysctl -n net.ipv4.conf.all.route_localnet");
}

// What another process, killed meanwhile, may have left is undone as well: nothing is remembered but in the kernel.
TEST_P(Rules, RouteLocalnetIsSetBehindAGuardAndSetBack) {
  const std::string before = machine_state();
  auto localhost = options();
  localhost.localhost_node_ports = true;
  {
    auto diverter = Diverter::open(localhost);
    ASSERT_TRUE(diverter) << diverter.error().message;
    for (const char* once_more : {"", "again"}) {
      const auto applied = diverter->apply(both_families());
      ASSERT_TRUE(applied) << applied.error().message << once_more;
      EXPECT_EQ(*applied, divert::Warnings{});
      EXPECT_EQ(route_localnet(), "1\n");
      const std::string saved = must(std::string(GetParam().tool) + "-save -t raw");
      EXPECT_EQ(count(saved, "-A PREROUTING ! -i lo -j LIMPET-LOCALNET"), 1U) << saved;
      EXPECT_LT(saved.find(" -j LIMPET-LOCALNET"), saved.find("-A PREROUTING -j LIMPET-PREROUTING")) << saved;
    }
  }
  ASSERT_TRUE(diverter_->remove_requests());
  EXPECT_EQ(route_localnet(), "1\n") << "replies to local clients are still on their way";
  EXPECT_EQ(count(rules(), " -j LIMPET-LOCALNET"), 1U);
  ASSERT_TRUE(diverter_->remove_replies());
  EXPECT_EQ(machine_state(), before);
}

TEST_P(Rules, RouteLocalnetThatSomebodyElseSetIsLeftAlone) {
  must("sysctl -q -w net.ipv4.conf.all.route_localnet=1");
  auto localhost = options();
  localhost.localhost_node_ports = true;
  auto diverter = Diverter::open(localhost);
  ASSERT_TRUE(diverter) << diverter.error().message;
  ASSERT_TRUE(diverter->apply(both_families()));
  EXPECT_EQ(count(rules(), "LIMPET-LOCALNET"), 0U);
  remove_all();
  EXPECT_EQ(route_localnet(), "1\n");
}

TEST_P(Rules, RouteLocalnetGoesWithTheOptionAndWithTheFamily) {
  auto localhost = options();
  localhost.localhost_node_ports = true;
  auto diverter = Diverter::open(localhost);
  ASSERT_TRUE(diverter) << diverter.error().message;
  ASSERT_TRUE(diverter->apply(both_families()));
  EXPECT_EQ(route_localnet(), "1\n");
  DiversionPlan only_v6 = both_families();
  std::erase_if(only_v6.services, [](const L4Address& entry) { return entry.at.address.is_v4(); });
  std::erase_if(only_v6.endpoints, [](const L4Address& entry) { return entry.at.address.is_v4(); });
  ASSERT_TRUE(diverter->update(only_v6));
  EXPECT_EQ(route_localnet(), "0\n");
  EXPECT_EQ(count(rules(), "LIMPET-LOCALNET"), 0U);
  ASSERT_TRUE(diverter->update(both_families()));
  EXPECT_EQ(route_localnet(), "1\n");
  apply(both_families());  // by a process without the option
  EXPECT_EQ(route_localnet(), "0\n");
  EXPECT_EQ(count(rules(), "LIMPET-LOCALNET"), 0U);
}

constexpr Case kCases[] = {
    {"NftSets", Backend::iptables_nft, "iptables-nft", "ip6tables-nft", Sets::automatic, Privilege::as_is},
    {"NftPlain", Backend::iptables_nft, "iptables-nft", "ip6tables-nft", Sets::never, Privilege::as_is},
    {"LegacySets", Backend::iptables_legacy, "iptables-legacy", "ip6tables-legacy", Sets::automatic, Privilege::as_is},
    {"LegacyPlain", Backend::iptables_legacy, "iptables-legacy", "ip6tables-legacy", Sets::never, Privilege::as_is},
    {"NftSetsRootless", Backend::iptables_nft, "iptables-nft", "ip6tables-nft", Sets::automatic, Privilege::rootless},
    {"LegacyPlainRootless", Backend::iptables_legacy, "iptables-legacy", "ip6tables-legacy", Sets::never,
     Privilege::rootless},
};
INSTANTIATE_TEST_SUITE_P(Divert, Rules, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(Diverter, WithoutPrivilegeSaysSo) {
  if (const std::string reason = enter_private_network(Privilege::as_is); !reason.empty()) GTEST_SKIP() << reason;
  ASSERT_EQ(::setresuid(65534, 65534, 65534), 0);
  auto diverter = Diverter::open({});
  ASSERT_TRUE(diverter) << diverter.error().message;
  const auto applied = diverter->apply(both_families());
  ASSERT_FALSE(applied);
  EXPECT_EQ(applied.error().kind, store::ErrorKind::permission) << applied.error().message;
  EXPECT_NE(applied.error().message.find("cannot divert IPv4: "), std::string::npos) << applied.error().message;
  const auto removed = diverter->remove_requests();
  ASSERT_FALSE(removed) << "what cannot be looked at cannot be said to be gone";
  EXPECT_EQ(removed.error().kind, store::ErrorKind::permission) << removed.error().message;
}

}  // namespace
}  // namespace limpet::test
