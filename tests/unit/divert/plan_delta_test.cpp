// Changes of a plan against the plans before and after: what difference() says, amend() does; what follows for addresses
// alone equals what the whole plans' addresses differ in.
#include <algorithm>
#include <iterator>
#include <random>

#include <gtest/gtest.h>

#include "lb/divert/plan_parts.h"
#include "tests/unit/divert/sample_plan.h"

namespace limpet::divert {
namespace {

using datapath::amend;
using datapath::difference;
using datapath::DiversionPlan;
using datapath::L4Address;
using datapath::PlanDelta;
using net::Address;

TEST(PlanDelta, NamesWhatComesAndGoes) {
  DiversionPlan to = test::sample_plan();
  to.services.erase(to.services.begin());
  to.endpoints.push_back(test::udp("10.2.0.4:53"));
  const PlanDelta delta = difference(test::sample_plan(), to);
  EXPECT_EQ(delta.removed.services, std::vector{test::tcp("10.96.0.1:80")});
  EXPECT_EQ(delta.added.endpoints, std::vector{test::udp("10.2.0.4:53")});
  EXPECT_EQ(delta.added.services.size() + delta.removed.endpoints.size() + delta.added.locals.size(), 0U);
  EXPECT_TRUE(difference(to, to).empty());
}

TEST(PlanDelta, OfWhichOnlyWhatChangesThePlanIsNeeded) {
  PlanDelta delta;
  delta.added.services = {test::tcp("10.96.0.1:80"), test::tcp("10.96.0.2:80")};     // the first is there
  delta.removed.services = {test::tcp("10.96.0.3:80"), test::udp("10.96.0.10:53")};  // the first is not
  const PlanDelta left = needed(delta, test::sample_plan());
  EXPECT_EQ(left.added.services, std::vector{test::tcp("10.96.0.2:80")});
  EXPECT_EQ(left.removed.services, std::vector{test::udp("10.96.0.10:53")});
}

/// Few addresses and ports, so that many entries share an address, and services meet locals.
DiversionPlan random_plan(std::mt19937& rng) {
  const auto draw = [&](unsigned n) { return std::uniform_int_distribution<unsigned>(0, n - 1)(rng); };
  const auto address = [&] {
    return draw(8) == 0 ? Address::from_v4(0x7f000001 + draw(2)) : Address::from_v4(0x0a600000 + draw(12));
  };
  const net::Protocol protocols[] = {net::Protocol::icmp, net::Protocol::tcp, net::Protocol::udp, net::Protocol::sctp,
                                     net::Protocol::udplite};
  DiversionPlan plan;
  const auto entries = [&](std::vector<L4Address>& list) {
    for (unsigned i = draw(30); i > 0; --i) {
      list.push_back({protocols[draw(5)], {address(), static_cast<std::uint16_t>(draw(2) * 0xffff)}});
    }
  };
  entries(plan.services);
  entries(plan.endpoints);
  for (unsigned i = draw(6); i > 0; --i) plan.locals.push_back(address());
  return united(std::move(plan), {});
}

template <typename T>
std::vector<T> only_in(const std::vector<T>& one, const std::vector<T>& other) {
  std::vector<T> found;
  std::ranges::set_difference(one, other, std::back_inserter(found));
  return found;
}

TEST(PlanDelta, LeadsFromOnePlanToTheOther) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(seed);
  std::mt19937 rng(seed);
  for (int i = 0; i < 2000; ++i) {
    const DiversionPlan from = random_plan(rng);
    const DiversionPlan to = random_plan(rng);
    const PlanDelta delta = difference(from, to);
    DiversionPlan amended = from;
    amend(amended, delta);
    ASSERT_EQ(amended, to);
    const AddressDelta vip = vips_delta(to, delta);
    ASSERT_EQ(vip.added, only_in(vips(to), vips(from)));
    ASSERT_EQ(vip.removed, only_in(vips(from), vips(to)));
    const AddressDelta host = hosts_delta(to, delta);
    ASSERT_EQ(host.added, only_in(hosts(to), hosts(from)));
    ASSERT_EQ(host.removed, only_in(hosts(from), hosts(to)));
  }
}

}  // namespace
}  // namespace limpet::divert
