#include <chrono>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lb/divert/command.h"
#include "lb/divert/doctor_fragment.h"
#include "lb/divert/doctor_packet.h"
#include "lb/divert/doctor_sandbox.h"
#include "lb/divert/nft_command.h"
#include "lb/divert/xtables.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

using namespace std::chrono_literals;
using divert::run_in_sandbox;

constexpr auto kLong = 20000ms;

std::string network_of_this_process() {
  struct stat about {};
  ::stat("/proc/self/ns/net", &about);
  return std::to_string(about.st_ino);
}

class Sandbox : public testing::TestWithParam<Privilege> {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_P(Sandbox, IsAnotherNetworkWithLoUp) {
  const auto network = run_in_sandbox(network_of_this_process, kLong);
  ASSERT_TRUE(network) << network.error().message;
  EXPECT_NE(*network, network_of_this_process());
  const auto links = run_in_sandbox([] { return must("ip -o link show up"); }, kLong);
  ASSERT_TRUE(links);
  EXPECT_NE(links->find(" lo: "), std::string::npos) << *links;
}

TEST_P(Sandbox, WhatIsMadeInsideDoesNotShowOutside) {
  const auto inside = run_in_sandbox(
      [] {
        must("iptables-legacy -t raw -N LIMPET-PROBE");
        must("iptables-nft -t raw -N LIMPET-PROBE");
        return must("iptables-nft -t raw -S");
      },
      kLong);
  ASSERT_TRUE(inside);
  EXPECT_NE(inside->find("LIMPET-PROBE"), std::string::npos);
  EXPECT_EQ(must("iptables-nft -t raw -S").find("LIMPET-PROBE"), std::string::npos);
  EXPECT_NE(::access("/run/xtables.lock", F_OK), 0) << "the machine's lock was taken";
}

TEST_P(Sandbox, WorkThatDoesNotEndIsKilledWithEverythingItStarted) {
  // The shell's own child holds a lock on this file for as long as it lives.
  const std::string file = "/run/held";
  std::ofstream(file) << "\n";
  const auto before = std::chrono::steady_clock::now();
  const auto result = run_in_sandbox([&] { return must("flock " + file + " sleep 60"); }, 500ms);
  const auto took = std::chrono::steady_clock::now() - before;
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("did not end within 500 ms"), std::string::npos) << result.error().message;
  EXPECT_LT(took, 10s);
  // Gone when the namespace's first process is reaped; wait for it no longer than a loaded machine needs.
  must("flock --timeout 10 " + file + " true");
}

TEST_P(Sandbox, WorkThatDiesIsAnError) {
  const auto result = run_in_sandbox(
      []() -> std::string {
        ::_exit(1);  // signals would not do: process 1 is deaf to its own
      },
      kLong);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().message, "the probe died");
}

TEST_P(Sandbox, LongAnswersArriveWhole) {
  const std::string much(1 << 20, 'x');  // more than a pipe holds (64 KiB)
  const auto result = run_in_sandbox([&] { return much; }, kLong);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(*result, much);
}

/// With each variant that this machine has, in each family: the kernel must carry the packet through.
TEST_P(Sandbox, APacketComesThrough) {
  for (const divert::Xtables& tools : divert::Xtables::installed()) {
    const bool nft = tools.variant() == divert::Variant::nft;
    const auto backend = nft ? divert::Backend::iptables_nft : divert::Backend::iptables_legacy;
    for (const net::Family family : {net::Family::v4, net::Family::v6}) {
      const auto seen = run_in_sandbox([&] { return divert::probe_packet(family, backend).detail; }, kLong);
      ASSERT_TRUE(seen) << seen.error().message;
      EXPECT_EQ(*seen, tools.name() + ": rewritten at OUTPUT, POSTROUTING, PREROUTING and INPUT, arrived");
    }
  }
}

/// The kernel, not the tools' word, decides.
TEST_P(Sandbox, APacketThatSomethingDropsDoesNotComeThrough) {
  struct Row {
    const char* obstacle;
    const char* words;
  };
  const Row table[] = {
      {"iptables-nft -t mangle -A OUTPUT -p udp -j DROP", "the packet was not queued at POSTROUTING"},
      {"iptables-nft -t mangle -A PREROUTING -p udp --dport 4003 -j DROP", "the packet was not queued at INPUT"},
      {"iptables-nft -A INPUT -p udp -j DROP", "the rewritten packet did not arrive"},
      {"iptables-nft -t raw -A PREROUTING -p udp -j ACCEPT", "the packet was not queued at PREROUTING"},
  };
  for (const Row& row : table) {
    const auto seen = run_in_sandbox(
        [&] {
          must(row.obstacle);
          const auto observation = divert::probe_packet(net::Family::v4, divert::Backend::iptables_nft);
          return std::string(to_string(observation.status)) + " " + observation.detail;
        },
        kLong);
    ASSERT_TRUE(seen) << seen.error().message;
    EXPECT_EQ(*seen, std::string("missing iptables-nft: ") + row.words) << row.obstacle;
  }
}

TEST_P(Sandbox, FragmentsComeAsOneDatagram) {
  for (const net::Family family : {net::Family::v4, net::Family::v6}) {
    const auto seen =
        run_in_sandbox([&] { return divert::probe_defragmentation(family, divert::Backend::iptables).detail; }, kLong);
    ASSERT_TRUE(seen) << seen.error().message;
    // 3000 bytes, 8 of UDP, 20 or 40 of IP.
    const std::string whole = family == net::Family::v4 ? "3028 of 3028 bytes" : "3048 of 3048 bytes";
    EXPECT_NE(seen->find(whole + " in one piece"), std::string::npos) << *seen;
  }
}

TEST_P(Sandbox, FragmentsThatAreLostAreNoticed) {
  const auto seen = run_in_sandbox(
      [] {
        // Before -400, where the kernel would put them together (linux/netfilter_ipv4.h).
        must("nft add table ip early");
        must("nft add chain ip early head { type filter hook prerouting priority -450 ; }");
        must("nft add rule ip early head ip frag-off & 0x3fff != 0 drop");
        return divert::probe_defragmentation(net::Family::v4, divert::Backend::iptables).detail;
      },
      kLong);
  ASSERT_TRUE(seen) << seen.error().message;
  EXPECT_NE(seen->find("nothing came to raw PREROUTING"), std::string::npos) << *seen;
}

/// What nft complains of, not the line: it may be long.
TEST_P(Sandbox, NftComplaintsAreShort) {
  const std::string elements(100'000, ' ');
  const auto refused = divert::nft("table ip t {\n\tset s { type no_such_type;" + elements + "}\n}\n");
  ASSERT_FALSE(refused);
  EXPECT_TRUE(refused.error().message.starts_with("nft: ")) << refused.error().message.substr(0, 200);
  EXPECT_LT(refused.error().message.size(), 200u);
  EXPECT_EQ(refused.error().message.find("stdin"), std::string::npos) << refused.error().message;
}

/// Asked for nft alone, the probes use nft alone, and say what its kernel's part lacks.
TEST_P(Sandbox, NftIsProbedWhereItIsAskedFor) {
  const auto has_queue = run_in_sandbox(
      [] { return std::string(divert::nft("table ip t { chain c { queue num 0; }; }\n") ? "yes" : "no"); }, kLong);
  ASSERT_TRUE(has_queue);
  for (const net::Family family : {net::Family::v4, net::Family::v6}) {
    const auto packet =
        run_in_sandbox([&] { return divert::probe_packet(family, divert::Backend::nft).detail; }, kLong);
    const auto fragments =
        run_in_sandbox([&] { return divert::probe_defragmentation(family, divert::Backend::nft).detail; }, kLong);
    for (const auto& seen : {packet, fragments}) {
      ASSERT_TRUE(seen);
      const char* words = *has_queue == "yes" ? "nft: " : "no queue expression (CONFIG_NFT_QUEUE)";
      EXPECT_NE(seen->find(words), std::string::npos) << *seen;
    }
  }
}

/// But for `queue`, which this kernel may lack, nft takes the rules of the probes.
TEST_P(Sandbox, NftTakesTheRulesOfTheProbes) {
  for (const net::Family family : {net::Family::v4, net::Family::v6}) {
    std::string text = divert::render_nft_probe(family) + divert::render_nft_fragment_probe(family);
    for (std::size_t at; (at = text.find("queue num 0")) != std::string::npos;) text.replace(at, 11, "counter");
    const auto accepted = divert::nft(text, divert::NftMode::check);
    EXPECT_TRUE(accepted) << accepted.error().message;
  }
}

INSTANTIATE_TEST_SUITE_P(Doctor, Sandbox, testing::Values(Privilege::as_is, Privilege::rootless), [](const auto& test) {
  return std::string(test.param == Privilege::as_is ? "Root" : "Rootless");
});

}  // namespace
}  // namespace limpet::test
