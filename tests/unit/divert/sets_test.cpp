// Golden texts, written by hand from ipset(8).
#include "lb/divert/sets.h"

#include <string>

#include <gtest/gtest.h>

#include "lb/divert/plan_parts.h"
#include "tests/unit/divert/sample_plan.h"

namespace limpet::divert {
namespace {

using datapath::DiversionPlan;
using net::Family;
using test::sample_plan;

/// Where no set's rules change between: what comes, then what goes.
std::string render_set_changes(Family family, const DiversionPlan& from, const DiversionPlan& to, SetChoice choice) {
  const auto delta = difference(from, to);
  return render_set_additions(family, to, delta, choice) + render_set_removals(family, to, delta, choice);
}

TEST(Sets, AreMadeAsideAndSwappedIn) {
  EXPECT_EQ(render_sets(Family::v4, part_of(sample_plan(), Family::v4), SetChoice::usual, {}),
            R"(create limpet4-locals-new hash:ip family inet hashsize 1024 maxelem 1024
add limpet4-locals-new 10.1.0.1
create limpet4-locals hash:ip family inet hashsize 1024 maxelem 1024
swap limpet4-locals-new limpet4-locals
destroy limpet4-locals-new
create limpet4-endpoints-new hash:ip,port family inet hashsize 1024 maxelem 1024
add limpet4-endpoints-new 10.2.0.2,6:8080
add limpet4-endpoints-new 10.2.0.3,17:53
create limpet4-endpoints hash:ip,port family inet hashsize 1024 maxelem 1024
swap limpet4-endpoints-new limpet4-endpoints
destroy limpet4-endpoints-new
create limpet4-addresses-new hash:ip family inet hashsize 1024 maxelem 1024
create limpet4-addresses hash:ip family inet hashsize 1024 maxelem 1024
swap limpet4-addresses-new limpet4-addresses
destroy limpet4-addresses-new
create limpet4-services-new hash:ip,port family inet hashsize 1024 maxelem 1024
add limpet4-services-new 10.96.0.1,6:80
add limpet4-services-new 10.96.0.10,17:53
create limpet4-services hash:ip,port family inet hashsize 1024 maxelem 1024
swap limpet4-services-new limpet4-services
destroy limpet4-services-new
)");
}

TEST(Sets, ExistingOnesAreNotCreatedAndLeftoversGo) {
  EXPECT_EQ(render_sets(Family::v6, part_of(sample_plan(), Family::v6), SetChoice::usual,
                        {"limpet6-locals", "limpet6-services", "limpet6-services-new"}),
            R"(create limpet6-locals-new hash:ip family inet6 hashsize 1024 maxelem 1024
add limpet6-locals-new fd00:1::1
swap limpet6-locals-new limpet6-locals
destroy limpet6-locals-new
create limpet6-endpoints-new hash:ip,port family inet6 hashsize 1024 maxelem 1024
add limpet6-endpoints-new fd00:2::2,6:8080
create limpet6-endpoints hash:ip,port family inet6 hashsize 1024 maxelem 1024
swap limpet6-endpoints-new limpet6-endpoints
destroy limpet6-endpoints-new
create limpet6-addresses-new hash:ip family inet6 hashsize 1024 maxelem 1024
create limpet6-addresses hash:ip family inet6 hashsize 1024 maxelem 1024
swap limpet6-addresses-new limpet6-addresses
destroy limpet6-addresses-new
destroy limpet6-services-new
create limpet6-services-new hash:ip,port family inet6 hashsize 1024 maxelem 1024
add limpet6-services-new fd00:96::1,6:80
swap limpet6-services-new limpet6-services
destroy limpet6-services-new
)");
}

TEST(Sets, ChangesAddRepliesFirstAndRemoveThemLast) {
  auto from = part_of(sample_plan(), Family::v4);
  auto to = from;
  to.services = {test::tcp("10.96.0.1:80"), test::tcp("10.96.0.2:80")};
  to.endpoints = {test::tcp("10.2.0.2:8080"), test::tcp("10.2.0.9:8080")};
  to.locals = {*net::Address::parse("10.1.0.2")};
  EXPECT_EQ(render_set_changes(Family::v4, from, to, SetChoice::usual), R"(add limpet4-locals 10.1.0.2
add limpet4-endpoints 10.2.0.9,6:8080
add limpet4-services 10.96.0.2,6:80
del limpet4-services 10.96.0.10,17:53
del limpet4-endpoints 10.2.0.3,17:53
del limpet4-locals 10.1.0.1
)");
  EXPECT_EQ(render_set_changes(Family::v4, from, from, SetChoice::usual), "");
}

// Where later fragments are queued: the addresses alone, a VIP that is the node's own among the node's.
TEST(Sets, FragmentsHaveSetsOfAddresses) {
  const auto from = part_of(sample_plan(), Family::v4);
  auto to = from;
  to.services = {test::tcp("10.1.0.1:31332"), test::tcp("10.96.0.1:80"), test::tcp("10.96.0.1:81")};
  to.endpoints = {test::tcp("10.2.0.2:8080"), test::tcp("10.2.0.2:8081")};
  EXPECT_EQ(render_set_changes(Family::v4, from, to, SetChoice::with_fragments),
            R"(add limpet4-endpoints 10.2.0.2,6:8081
add limpet4-services 10.1.0.1,6:31332
add limpet4-services 10.96.0.1,6:81
del limpet4-services 10.96.0.10,17:53
del limpet4-vips 10.96.0.10
del limpet4-endpoints 10.2.0.3,17:53
del limpet4-hosts 10.2.0.3
)");
  const std::string made = render_sets(Family::v6, part_of(sample_plan(), Family::v6), SetChoice::with_fragments, {});
  EXPECT_NE(
      made.find(
          "create limpet6-vips-new hash:ip family inet6 hashsize 1024 maxelem 1024\nadd limpet6-vips-new fd00:96::1\n"),
      made.npos)
      << made;
  EXPECT_EQ(unchosen_sets(Family::v4, SetChoice::usual, {"limpet4-hosts", "limpet4-locals"}),
            (std::vector<std::string>{"limpet4-hosts"}));
  EXPECT_EQ(unchosen_sets(Family::v4, SetChoice::with_fragments, {"limpet4-hosts"}), std::vector<std::string>{});
}

TEST(Sets, IcmpHasTypeAndCodeForAPort) {
  const datapath::L4Address echo{net::Protocol::icmp, *net::AddressPort::parse("10.96.0.1:2048")};        // 8 << 8
  const datapath::L4Address echo6{net::Protocol::icmp6, *net::AddressPort::parse("[fd00:96::1]:32768")};  // 128 << 8
  EXPECT_EQ(render_set_changes(Family::v4, {}, {.services = {echo}, .endpoints = {}, .locals = {}}, SetChoice::usual),
            "add limpet4-services 10.96.0.1,icmp:8/0\n");
  EXPECT_EQ(render_set_changes(Family::v6, {}, {.services = {echo6}, .endpoints = {}, .locals = {}}, SetChoice::usual),
            "add limpet6-services fd00:96::1,icmpv6:128/0\n");
}

TEST(Sets, CapacityLeavesRoomToDouble) {
  struct {
    std::size_t elements;
    std::size_t capacity;
  } const cases[] = {{0, 1024}, {512, 1024}, {513, 2048}, {1024, 2048}, {1025, 4096}, {100000, 262144}};
  for (const auto& c : cases) EXPECT_EQ(set_capacity(c.elements), c.capacity) << c.elements;
}

TEST(Sets, WholeAddressesComeBeforeServicesAndGoAfterThem) {
  DiversionPlan from;
  from.addresses = {*net::Address::parse("10.96.0.1")};
  DiversionPlan to;
  to.services = {test::tcp("10.96.0.2:80")};
  to.addresses = {*net::Address::parse("10.96.0.2")};
  EXPECT_EQ(render_set_changes(Family::v4, from, to, SetChoice::usual),
            "add limpet4-addresses 10.96.0.2\nadd limpet4-services 10.96.0.2,6:80\ndel limpet4-addresses 10.96.0.1\n");
}

// From `ipset list -t` of ipset 7.19.
TEST(Sets, DriftIsAMissingSetOrAnotherNumberOfElements) {
  const auto plan = part_of(sample_plan(), Family::v4);
  const auto listed = [](const std::string& endpoints, const std::string& hosts) {
    std::string text;
    const std::pair<std::string, std::string> sizes[] = {
        {"limpet4-locals", "1"},    {"limpet4-hosts", hosts},  {"limpet4-endpoints", endpoints}, {"limpet4-vips", "7"},
        {"limpet4-addresses", "0"}, {"limpet4-services", "2"}, {"limpet4-others", "9"}};
    for (const auto& [name, size] : sizes) {
      if (size.empty()) continue;
      text += "Name: " + name + "\nType: hash:ip,port\nRevision: 7\nHeader: family inet hashsize 1024 maxelem 1024 " +
              "bucketsize 12 initval 0xb0a1f3c2\nSize in memory: 280\nReferences: 3\nNumber of entries: " + size +
              "\n\n";
    }
    return text;
  };
  const auto drift = [&](SetChoice choice, const std::string& endpoints, const std::string& hosts) {
    return find_set_drift(Family::v4, plan, choice, listed(endpoints, hosts));
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(drift(SetChoice::usual, "2", "0"), Words{});
  EXPECT_EQ(drift(SetChoice::usual, "0", ""), Words{"set limpet4-endpoints has 0 elements instead of 2"});
  EXPECT_EQ(drift(SetChoice::usual, "", ""), Words{"set limpet4-endpoints is missing"});
  EXPECT_EQ(drift(SetChoice::with_fragments, "2", "1"), Words{});
  EXPECT_EQ(drift(SetChoice::with_fragments, "2", "0"), Words{"set limpet4-hosts has 0 elements instead of 1"});
}

TEST(Sets, FindsItsOwnNamesOnly) {
  const char* listed =
      "limpet4-services\nlimpet4-others\nlimpet6-locals\nlimpet4-services-new\nlimpet-probe\nmy-limpet4-locals\n";
  EXPECT_EQ(find_sets(listed, Family::v4),
            (std::vector<std::string>{"limpet4-services", "limpet4-services-new", "limpet-probe"}));
  EXPECT_EQ(find_sets(listed, Family::v6), (std::vector<std::string>{"limpet6-locals"}));
}

}  // namespace
}  // namespace limpet::divert
