// What a change of the plan costs, and that it costs nothing else: at the size of a large cluster, and at the edges where
// rules or whole sets must be written.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <ostream>
#include <string>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "lb/divert/diverter.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using datapath::PlanDelta;
using divert::Backend;
using divert::Diverter;

L4Address tcp(std::uint32_t address, std::uint16_t port) {
  return {net::Protocol::tcp, {net::Address::from_v4(address), port}};
}

struct Case {
  const char* name;
  Backend backend;
  const char* tool;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

class Delta : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(Privilege::as_is); !reason.empty()) GTEST_SKIP() << reason;
    must("ip link add name ifa type veth peer name ifb");
    must("ip link set ifa up");
    must("ip link set ifb up");
    must("ip addr add 10.1.0.1/24 dev ifa");
    must("ip route add default via 10.1.0.2");
    watch_tools();
    auto opened = Diverter::open({.backend = GetParam().backend});
    ASSERT_TRUE(opened) << opened.error().message;
    diverter_.emplace(std::move(*opened));
  }

  /// Stand-ins that are first in PATH and note what ipset and iptables-restore are handed.
  static void watch_tools() {
    ASSERT_EQ(::mkdir("/run/bin", 0755), 0);
    for (const std::string& tool : {std::string("ipset"), std::string(GetParam().tool) + "-restore"}) {
      std::string real = must("which " + tool);
      real.pop_back();
      std::ofstream("/run/bin/" + tool)
          << "#!/bin/sh\ncat > /run/handed-part\ncat /run/handed-part >> /run/handed\nexec " + real +
                 " \"$@\" < /run/handed-part\n";
      ASSERT_EQ(::chmod(("/run/bin/" + tool).c_str(), 0755), 0);
    }
    ::setenv("PATH", (std::string("/run/bin:") + std::getenv("PATH")).c_str(), 1);
  }
  /// Since the last call.
  static std::string handed() {
    std::ifstream file("/run/handed");
    std::string text{std::istreambuf_iterator<char>(file), {}};
    std::ofstream("/run/handed", std::ios::trunc);
    return text;
  }
  void apply(const DiversionPlan& plan) {
    const auto done = diverter_->apply(plan);
    ASSERT_TRUE(done) << done.error().message;
    handed();
  }
  void change(const PlanDelta& delta) {
    const auto done = diverter_->change(delta);
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_EQ(*done, divert::Warnings{});
  }
  static std::string entries(const std::string& set) {
    const std::string listed = must("ipset list -t " + set);
    const std::string words = "Number of entries: ";
    const auto at = listed.find(words);
    return at == listed.npos ? listed : listed.substr(at + words.size(), listed.find('\n', at) - at - words.size());
  }

  std::optional<Diverter> diverter_;
};

/// 50,000 services, each at two ports of its clusterIP, with five endpoints each.
DiversionPlan large_plan() {
  DiversionPlan plan;
  for (std::uint32_t i = 0; i < 50'000; ++i) {
    plan.services.push_back(tcp(0x0a600000 + i, 80));
    plan.services.push_back(tcp(0x0a600000 + i, 443));
  }
  for (std::uint32_t i = 0; i < 250'000; ++i) plan.endpoints.push_back(tcp(0x0a800000 + i, 8080));
  plan.locals = {*net::Address::parse("10.1.0.1")};
  return plan;
}

class Stopwatch {
 public:
  double ms() const {
    return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin_).count();
  }

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

TEST_P(Delta, OneChangeAmongAQuarterOfAMillionEndpointsIsOneLine) {
  DiversionPlan plan = large_plan();
  const Stopwatch whole;
  apply(plan);
  std::printf("whole plan: %.0f ms\n", whole.ms());
  EXPECT_EQ(entries("limpet4-endpoints"), "250000");
  EXPECT_EQ(entries("limpet4-services"), "100000");

  PlanDelta delta;
  delta.added.endpoints = {tcp(0x0aff0001, 8080)};
  delta.removed.endpoints = {tcp(0x0a800007, 8080)};
  const Stopwatch one;
  change(delta);
  std::printf("one endpoint for another, by its delta: %.1f ms\n", one.ms());
  EXPECT_EQ(handed(), "add limpet4-endpoints 10.255.0.1,6:8080\ndel limpet4-endpoints 10.128.0.7,6:8080\n");
  EXPECT_LT(one.ms(), 1000) << "the whole plan takes seconds";

  amend(plan, delta);
  plan.services.push_back(tcp(0x0a610000, 80));
  std::ranges::sort(plan.services);
  const Stopwatch found;
  const auto updated = diverter_->update(plan);
  ASSERT_TRUE(updated) << updated.error().message;
  std::printf("one service more, found in the whole plan, routes of all VIPs checked: %.1f ms\n", found.ms());
  EXPECT_EQ(handed(), "add limpet4-services 10.97.0.0,6:80\n");
  EXPECT_EQ(entries("limpet4-endpoints"), "250000");
  EXPECT_EQ(entries("limpet4-services"), "100001");
}

TEST_P(Delta, AListThatOutgrowsItsRulesTakesNoSetAlong) {
  DiversionPlan plan;
  for (std::uint32_t i = 0; i < 8; ++i) plan.services.push_back(tcp(0x0a600000 + i, 80));
  for (std::uint32_t i = 0; i < 20; ++i) plan.endpoints.push_back(tcp(0x0a800000 + i, 8080));
  plan.locals = {*net::Address::parse("10.1.0.1")};
  apply(plan);
  const std::string save = std::string(GetParam().tool) + "-save -t raw";
  EXPECT_EQ(must(save).find("limpet4-services"), std::string::npos);
  must("ipset add limpet4-endpoints 192.0.2.1,tcp:1");  // a set that was written again would not have it
  handed();

  PlanDelta ninth;
  ninth.added.services = {tcp(0x0a610000, 80)};
  change(ninth);
  EXPECT_NE(must(save).find("--match-set limpet4-services dst,dst"), std::string::npos);
  PlanDelta back;
  back.removed = ninth.added;
  change(back);
  EXPECT_EQ(must(save).find("limpet4-services"), std::string::npos);
  EXPECT_NE(must(save).find("-d 10.96.0.7/32"), std::string::npos);
  EXPECT_EQ(entries("limpet4-endpoints"), "21");
  EXPECT_EQ(entries("limpet4-services"), "8");
  EXPECT_EQ(handed().find("swap"), std::string::npos);
}

TEST_P(Delta, ASetThatIsFullIsMadeAnewTwiceAsLarge) {
  DiversionPlan plan;
  plan.services = {tcp(0x0a600000, 80)};
  plan.endpoints = {tcp(0x0a800000, 8080)};
  plan.locals = {*net::Address::parse("10.1.0.1")};
  apply(plan);
  EXPECT_NE(must("ipset list -t limpet4-endpoints").find("maxelem 1024"), std::string::npos);
  PlanDelta many;
  for (std::uint32_t i = 1; i < 3000; ++i) many.added.endpoints.push_back(tcp(0x0a800000 + i, 8080));
  change(many);
  EXPECT_EQ(entries("limpet4-endpoints"), "3000");
  EXPECT_NE(must("ipset list -t limpet4-endpoints").find("maxelem 8192"), std::string::npos);  // 2 x 3000, rounded up
  EXPECT_FALSE(diverter_->in_doubt());
}

TEST_P(Delta, RoutesFollowTheVipsThatComeAndGo) {
  must("ip route del default");
  DiversionPlan plan;
  plan.services = {tcp(0x0a600000, 80), tcp(0x0a600000, 443), tcp(0x0a600001, 80)};
  plan.endpoints = {tcp(0x0a800000, 8080)};
  plan.locals = {*net::Address::parse("10.1.0.1")};
  apply(plan);
  const auto routes = [] { return must("ip route show proto 76"); };
  EXPECT_NE(routes().find("10.96.0.1 "), std::string::npos) << routes();
  PlanDelta delta;
  delta.added.services = {tcp(0x0a600002, 80)};
  delta.removed.services = {tcp(0x0a600000, 443), tcp(0x0a600001, 80)};
  change(delta);
  EXPECT_NE(routes().find("10.96.0.0 "), std::string::npos) << "one of its two ports is left";
  EXPECT_EQ(routes().find("10.96.0.1 "), std::string::npos) << routes();
  EXPECT_NE(routes().find("10.96.0.2 "), std::string::npos) << routes();
}

constexpr Case kCases[] = {{"Nft", Backend::iptables_nft, "iptables-nft"},
                           {"Legacy", Backend::iptables_legacy, "iptables-legacy"}};
INSTANTIATE_TEST_SUITE_P(Divert, Delta, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace limpet::test
