// Golden texts, written by hand from ipset(8).
#include "lb/divert/sets.h"

#include <string>

#include <gtest/gtest.h>

#include "lb/divert/rules.h"
#include "tests/unit/divert/sample_plan.h"

namespace limpet::divert {
namespace {

using net::Family;
using test::sample_plan;

TEST(Sets, AreMadeAsideAndSwappedIn) {
  EXPECT_EQ(render_sets(Family::v4, part_of(sample_plan(), Family::v4), {}),
            R"(create limpet4-locals-new hash:ip family inet maxelem 1024
add limpet4-locals-new 10.1.0.1
create limpet4-locals hash:ip family inet maxelem 1024
swap limpet4-locals-new limpet4-locals
destroy limpet4-locals-new
create limpet4-endpoints-new hash:ip,port family inet maxelem 1024
add limpet4-endpoints-new 10.2.0.2,tcp:8080
add limpet4-endpoints-new 10.2.0.3,udp:53
create limpet4-endpoints hash:ip,port family inet maxelem 1024
swap limpet4-endpoints-new limpet4-endpoints
destroy limpet4-endpoints-new
create limpet4-services-new hash:ip,port family inet maxelem 1024
add limpet4-services-new 10.96.0.1,tcp:80
add limpet4-services-new 10.96.0.10,udp:53
create limpet4-services hash:ip,port family inet maxelem 1024
swap limpet4-services-new limpet4-services
destroy limpet4-services-new
)");
}

TEST(Sets, ExistingOnesAreNotCreatedAndLeftoversGo) {
  EXPECT_EQ(render_sets(Family::v6, part_of(sample_plan(), Family::v6),
                        {"limpet6-locals", "limpet6-services", "limpet6-services-new"}),
            R"(create limpet6-locals-new hash:ip family inet6 maxelem 1024
add limpet6-locals-new fd00:1::1
swap limpet6-locals-new limpet6-locals
destroy limpet6-locals-new
create limpet6-endpoints-new hash:ip,port family inet6 maxelem 1024
add limpet6-endpoints-new fd00:2::2,tcp:8080
create limpet6-endpoints hash:ip,port family inet6 maxelem 1024
swap limpet6-endpoints-new limpet6-endpoints
destroy limpet6-endpoints-new
destroy limpet6-services-new
create limpet6-services-new hash:ip,port family inet6 maxelem 1024
add limpet6-services-new fd00:96::1,tcp:80
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
  EXPECT_EQ(render_set_changes(Family::v4, from, to), R"(add limpet4-locals 10.1.0.2
add limpet4-endpoints 10.2.0.9,tcp:8080
add limpet4-services 10.96.0.2,tcp:80
del limpet4-services 10.96.0.10,udp:53
del limpet4-endpoints 10.2.0.3,udp:53
del limpet4-locals 10.1.0.1
)");
  EXPECT_EQ(render_set_changes(Family::v4, from, from), "");
}

TEST(Sets, CapacityLeavesRoomToDouble) {
  struct {
    std::size_t elements;
    std::size_t capacity;
  } const cases[] = {{0, 1024}, {512, 1024}, {513, 2048}, {1024, 2048}, {1025, 4096}, {100000, 262144}};
  for (const auto& c : cases) EXPECT_EQ(set_capacity(c.elements), c.capacity) << c.elements;
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
