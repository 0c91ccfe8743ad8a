// Another hand in the kernel: whatever it takes out or puts in the way is told in words, and put back as it was.
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <ostream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "lb/divert/diverter.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using divert::Backend;
using divert::Diverter;
using divert::Drift;

DiversionPlan plan() {
  DiversionPlan plan;
  for (std::uint16_t i = 0; i < 20; ++i) {
    plan.services.push_back({net::Protocol::tcp, {net::Address::from_v4(0x0a600000U + i), 80}});
    plan.endpoints.push_back({net::Protocol::tcp, {net::Address::from_v4(0x0a020000U + i), 8080}});
  }
  plan.services.push_back({net::Protocol::tcp, *net::AddressPort::parse("[fd00:96::1]:80")});
  plan.endpoints.push_back({net::Protocol::tcp, *net::AddressPort::parse("[fd00:2::2]:8080")});
  plan.locals = {*net::Address::parse("10.1.0.1"), *net::Address::parse("fd00:1::1")};
  return plan;
}

void set_up_node() {
  must("ip link add name ifa type veth peer name ifb");
  must("ip link set ifa addrgenmode none");
  must("ip link set ifa up");
  must("ip link set ifb up");
  must("ip addr add 10.1.0.1/24 dev ifa");
  must("ip addr add fd00:1::1/64 dev ifa nodad");
}

double ms_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

/// What every back-end must do: tell, repair, be content; once.
void expect_repaired(Diverter& diverter, const std::vector<std::string>& what) {
  auto begin = std::chrono::steady_clock::now();
  auto drift = diverter.drift();
  ASSERT_TRUE(drift) << drift.error().message;
  std::printf("  noticed in %.1f ms", ms_since(begin));
  EXPECT_EQ(drift->what, what);
  begin = std::chrono::steady_clock::now();
  const auto repaired = diverter.repair(*drift);
  ASSERT_TRUE(repaired) << repaired.error().message;
  std::printf(", repaired in %.1f ms\n", ms_since(begin));
  drift = diverter.drift();
  ASSERT_TRUE(drift) << drift.error().message;
  EXPECT_EQ(drift->what, std::vector<std::string>{});
  EXPECT_FALSE(*drift);
  EXPECT_FALSE(diverter.in_doubt());
}

struct Case {
  const char* name;
  Backend backend;
  const char* tool;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

class DriftOf : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(Privilege::as_is); !reason.empty()) GTEST_SKIP() << reason;
    set_up_node();
    auto opened = Diverter::open({.backend = GetParam().backend, .localhost_node_ports = true});
    ASSERT_TRUE(opened) << opened.error().message;
    diverter_.emplace(std::move(*opened));
    must(tool("-t raw -A PREROUTING -p tcp --dport 22 -j ACCEPT"));
    const auto applied = diverter_->apply(plan());
    ASSERT_TRUE(applied) << applied.error().message;
    before_ = state();
    const auto begin = std::chrono::steady_clock::now();
    const auto drift = diverter_->drift();
    std::printf("first look %.1f ms", ms_since(begin));
    ASSERT_TRUE(drift) << drift.error().message;
    ASSERT_EQ(drift->what, std::vector<std::string>{});
  }
  static std::string tool(const std::string& words) { return std::string(GetParam().tool) + " " + words; }
  /// limpet's rules and the jumps to them, in order; its sets.
  static std::string state() {
    std::string text;
    for (const char* table : {"raw", "mangle"}) {
      for (const std::string& family : {std::string(GetParam().tool), "ip6" + std::string(GetParam().tool).substr(2)}) {
        std::istringstream lines(must(family + "-save -t " + table));
        for (std::string line; std::getline(lines, line);) {
          if (line.find("LIMPET") != line.npos) text += line.substr(0, line.find(" [")) + "\n";
        }
      }
    }
    for (const char* set : {"limpet4-services", "limpet4-endpoints", "limpet4-locals", "limpet6-endpoints"}) {
      text += must(std::string("ipset list -t ") + set).substr(0, 18) + std::to_string(elements(set)) + "\n";
    }
    return text;
  }
  static int elements(const std::string& set) {
    const std::string listed = attempt("ipset list -t " + set);
    const auto at = listed.find("entries: ");
    return at == listed.npos ? -1 : std::atoi(listed.c_str() + at + 9);
  }
  void expect_repair(const std::vector<std::string>& what) {
    ASSERT_NO_FATAL_FAILURE(expect_repaired(*diverter_, what));
    EXPECT_EQ(state(), before_);
  }

  std::optional<Diverter> diverter_;
  std::string before_;
};

TEST_P(DriftOf, AChainThatWasFlushed) {
  const std::string saved = must(std::string(GetParam().tool) + "-save -t mangle");
  std::size_t rules = 0;
  for (auto at = saved.find("-A LIMPET-INPUT"); at != saved.npos; at = saved.find("-A LIMPET-INPUT", at + 1)) ++rules;
  must(tool("-t mangle -F LIMPET-INPUT"));
  expect_repair({"IPv4 mangle table: LIMPET-INPUT has 0 rules instead of " + std::to_string(rules)});
}

TEST_P(DriftOf, AJumpThatWasDeleted) {
  must(tool("-t raw -D OUTPUT -j LIMPET-OUTPUT"));
  expect_repair({"IPv4 raw table: the jump from OUTPUT to LIMPET-OUTPUT is missing"});
}

TEST_P(DriftOf, ARuleThatWasPutBeforeTheJump) {
  must(tool("-t mangle -I POSTROUTING 1 -j ACCEPT"));
  expect_repair({"IPv4 mangle table: the jump from POSTROUTING to LIMPET-POSTROUTING stands behind other rules"});
  EXPECT_NE(must(tool("-t mangle -S POSTROUTING")).find("-j ACCEPT"), std::string::npos) << "it is somebody's";
}

TEST_P(DriftOf, ATableThatWasFlushedAndTheGuardWithIt) {
  must(tool("-t raw -F"));
  must(tool("-t raw -X"));
  expect_repair({"IPv4 raw table: LIMPET-ICMP is missing", "IPv4 raw table: LIMPET-OUTPUT is missing",
                 "IPv4 raw table: LIMPET-PREROUTING is missing",
                 "IPv4 raw table: the jump from PREROUTING to LIMPET-PREROUTING is missing",
                 "IPv4 raw table: the jump from OUTPUT to LIMPET-OUTPUT is missing",
                 "IPv4 raw table: LIMPET-LOCALNET is not as it was"});
}

TEST_P(DriftOf, ASetThatWasEmptied) {
  must("ipset flush limpet4-endpoints");
  const std::string rules = must(tool("-t raw -S"));
  expect_repair({"set limpet4-endpoints has 0 elements instead of 20"});
  EXPECT_EQ(must(tool("-t raw -S")), rules);
}

TEST_P(DriftOf, AnElementThatWasTakenOut) {
  must("ipset del limpet6-endpoints fd00:2::2,tcp:8080");
  expect_repair({"set limpet6-endpoints has 0 elements instead of 1"});
}

TEST_P(DriftOf, EverythingThatWasDestroyed) {
  for (const char* table : {"raw", "mangle"}) {
    must(tool(std::string("-t ") + table + " -F"));
    must(tool(std::string("-t ") + table + " -X"));
  }
  for (int i = 0; i < 100 && attempt("ipset list -n").find("limpet4-services") != std::string::npos; ++i) {
    attempt("ipset destroy limpet4-services");  // nf_tables lets go of it a little later
  }
  ASSERT_EQ(elements("limpet4-services"), -1);
  auto drift = diverter_->drift();
  ASSERT_TRUE(drift) << drift.error().message;
  EXPECT_TRUE(drift->rules && drift->sets);
  EXPECT_EQ(drift->what.back(), "set limpet4-services is missing");
  const auto repaired = diverter_->repair(*drift);
  ASSERT_TRUE(repaired) << repaired.error().message;
  EXPECT_EQ(state(), before_);
  EXPECT_FALSE(*diverter_->drift());
}

TEST_P(DriftOf, WhatLimpetItselfChangesIsNone) {
  DiversionPlan next = plan();
  next.services.resize(5);  // few enough to be rules
  next.endpoints.erase(next.endpoints.begin());
  const auto updated = diverter_->update(next);
  ASSERT_TRUE(updated) << updated.error().message;
  const auto drift = diverter_->drift();
  ASSERT_TRUE(drift) << drift.error().message;
  EXPECT_EQ(drift->what, std::vector<std::string>{});
  ASSERT_TRUE(diverter_->remove_requests());
  EXPECT_FALSE(*diverter_->drift()) << "what was taken away on purpose is not missed";
}

constexpr Case kCases[] = {{"Nft", Backend::iptables_nft, "iptables-nft"},
                           {"Legacy", Backend::iptables_legacy, "iptables-legacy"}};
INSTANTIATE_TEST_SUITE_P(Divert, DriftOf, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

/// The nft back-end, with `counter` in the place of `queue` (divert_nft_test.cpp).
class DriftOfNft : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(Privilege::as_is); !reason.empty()) GTEST_SKIP() << reason;
    set_up_node();
    ASSERT_EQ(::mkdir("/run/bin", 0755), 0);
    std::string real = must("which nft");
    real.pop_back();
    std::ofstream("/run/bin/nft") << "#!/bin/sh\ncase \" $* \" in *' -f - '*) sed 's/queue num.*/counter/' | exec "
                                  << real << " \"$@\" ;; *) exec " << real << " \"$@\" ;; esac\n";
    ASSERT_EQ(::chmod("/run/bin/nft", 0755), 0);
    ::setenv("PATH", (std::string("/run/bin:") + std::getenv("PATH")).c_str(), 1);
    auto opened = Diverter::open({.backend = Backend::nft});
    ASSERT_TRUE(opened) << opened.error().message;
    diverter_.emplace(std::move(*opened));
    const auto applied = diverter_->apply(plan());
    ASSERT_TRUE(applied) << applied.error().message;
    before_ = must("nft -s list ruleset");
    ASSERT_FALSE(*diverter_->drift());
  }
  void expect_repair(const std::vector<std::string>& what) {
    ASSERT_NO_FATAL_FAILURE(expect_repaired(*diverter_, what));
    EXPECT_EQ(must("nft -s list ruleset"), before_);
  }
  std::optional<Diverter> diverter_;
  std::string before_;
};

TEST_F(DriftOfNft, AFlushOfAllTables) {
  must("nft flush ruleset");
  auto drift = diverter_->drift();
  ASSERT_TRUE(drift) << drift.error().message;
  EXPECT_EQ(drift->what.front(), "table ip limpet is missing");
  ASSERT_TRUE(diverter_->repair(*drift));
  EXPECT_EQ(must("nft -s list ruleset"), before_);
  EXPECT_FALSE(*diverter_->drift());
}

TEST_F(DriftOfNft, AChainThatWasFlushed) {
  must("nft flush chain ip6 limpet output");
  expect_repair({"table ip6 limpet has other rules"});
}

TEST_F(DriftOfNft, ASetThatWasFlushed) {
  must("nft flush set ip limpet services");
  expect_repair(
      {"elements are missing: ip limpet services { 10.96.0.0 . tcp . 80, 10.96.0.10 . tcp . 80, "
       "10.96.0.19 . tcp . 80 }"});
}

TEST_F(DriftOfNft, WhatOthersDoInTheirTablesIsNone) {
  must("nft add table ip others");
  EXPECT_FALSE(*diverter_->drift());
  must("nft delete table ip others");
  EXPECT_EQ(must("nft -s list ruleset"), before_);
}

}  // namespace
}  // namespace limpet::test
