// The rules of design.md section 3, "Masquerade ports".
#include "conntrack/flow/port_pool.h"

#include <array>
#include <atomic>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limpet::flow {
namespace {

using net::Protocol;

PoolKey key(std::string_view endpoint = "10.28.8.5:80", std::string_view egress = "10.128.0.5",
            Protocol protocol = Protocol::tcp) {
  return {protocol, net::Address::parse(egress).value(), net::AddressPort::parse(endpoint).value()};
}

constexpr std::array<PortInterval, 2> kDefault{{{1024, 29999}, {61000, 65535}}};
constexpr std::array<std::uint16_t, 3> kNodePorts{30558, 31332, 2000};  // the third lies in the assignable range

TEST(PortPool, WhichPortsMayBeKeptAndAssigned) {
  const PortPool pool({.assignable = kDefault, .ephemeral = {32768, 60999}, .node_ports = kNodePorts});
  struct Row {
    std::string name;
    std::uint16_t port;
    bool keep, assign;
  };
  for (const Row& row : std::vector<Row>{{"0 is no port", 0, false, false},
                                         {"a client may use a privileged port", 1, true, false},
                                         {"last before the first range", 1023, true, false},
                                         {"first of the range", 1024, true, true},
                                         {"a nodePort in the range", 2000, false, false},
                                         {"next to it", 2001, true, true},
                                         {"last of the range", 29999, true, true},
                                         {"past it", 30000, true, false},
                                         {"a nodePort", 31332, false, false},
                                         {"last before the ephemeral ports", 32767, true, false},
                                         {"first ephemeral port", 32768, false, false},
                                         {"last ephemeral port", 60999, false, false},
                                         {"first of the second range", 61000, true, true},
                                         {"last port", 65535, true, true}}) {
    EXPECT_EQ(pool.may_keep(row.port), row.keep) << row.name;
    EXPECT_EQ(pool.may_assign(row.port), row.assign) << row.name;
  }
}

TEST(PortPool, NodePortsComeAndGoWithTheServicesThatHaveThem) {
  PortPool pool({.assignable = kDefault, .ephemeral = {32768, 60999}, .node_ports = {}});
  const PoolKey key{net::Protocol::tcp, {}, {}};
  ASSERT_EQ(pool.acquire(key, 2000, 0), std::optional<std::uint16_t>(2000));
  pool.add_node_port(2000);
  pool.add_node_port(2000);  // of UDP, too
  EXPECT_FALSE(pool.may_keep(2000));
  EXPECT_FALSE(pool.may_assign(2000));
  pool.release(key, 2000);  // who had it has gone its way
  EXPECT_NE(pool.acquire(key, 2000, 2000), std::optional<std::uint16_t>(2000));
  pool.remove_node_port(2000);
  EXPECT_FALSE(pool.may_keep(2000)) << "one service has it still";
  pool.remove_node_port(2000);
  EXPECT_TRUE(pool.may_keep(2000));
  EXPECT_TRUE(pool.may_assign(2000));
}

TEST(PortPool, WholeRangesDoNotWrapRound) {
  constexpr std::array<PortInterval, 1> all{{{0, 65535}}};
  const PortPool pool({.assignable = all, .ephemeral = {0, 65535}, .node_ports = {}});
  EXPECT_FALSE(pool.may_keep(65535));
  EXPECT_TRUE(pool.may_assign(65535));
  EXPECT_FALSE(pool.may_assign(0));
}

TEST(PortPool, TheClientsPortIsKeptWhereItMayBe) {
  PortPool pool({.assignable = kDefault, .ephemeral = {32768, 60999}, .node_ports = kNodePorts});
  EXPECT_EQ(pool.acquire(key(), 30001, 0), 30001) << "kept, though it would not be assigned";
  for (const std::uint16_t refused :
       {std::uint16_t{30001}, std::uint16_t{40000}, std::uint16_t{31332}, std::uint16_t{2000}, std::uint16_t{0}}) {
    const auto port = pool.acquire(key(), refused, 5000);
    ASSERT_TRUE(port.has_value());
    EXPECT_NE(*port, refused);
    EXPECT_TRUE(pool.may_assign(*port));
  }
}

TEST(PortPool, TheSearchBeginsAtTheRandomPlaceAndWraps) {
  constexpr std::array<PortInterval, 1> range{{{1000, 1200}}};
  struct Row {
    std::string name;
    std::uint64_t random;
    std::uint16_t expected;
  };
  for (const Row& row : std::vector<Row>{{"inside", 1100, 1100},
                                         {"before", 3, 1000},
                                         {"at the end", 1200, 1200},
                                         {"past the end", 1201, 1000},
                                         {"in the last word, past the end", 1215, 1000},
                                         {"modulo 65536", 65536 * 5 + 1007, 1007}}) {
    PortPool pool({.assignable = range, .ephemeral = {0, 65535}, .node_ports = {}});
    EXPECT_EQ(pool.acquire(key(), 0, row.random), row.expected) << row.name;
  }
}

TEST(PortPool, EveryAllowedPortOnceThenNone) {
  constexpr std::array<PortInterval, 2> ranges{{{100, 227}, {300, 301}}};
  constexpr std::array<std::uint16_t, 1> node_ports{200};
  for (const std::uint64_t start : {0u, 100u, 163u, 200u, 227u, 301u, 65535u}) {
    SCOPED_TRACE(start);
    PortPool pool({.assignable = ranges, .ephemeral = {32768, 60999}, .node_ports = node_ports});
    std::set<std::uint16_t> given;
    for (int i = 0; i < 129; ++i) {  // 128 + 2 ports, less a nodePort
      const auto port = pool.acquire(key(), 0, start);
      ASSERT_TRUE(port.has_value()) << i;
      EXPECT_TRUE((*port >= 100 && *port <= 227 && *port != 200) || *port == 300 || *port == 301) << *port;
      EXPECT_TRUE(given.insert(*port).second) << *port;
    }
    EXPECT_EQ(pool.acquire(key(), 0, start), std::nullopt);
    EXPECT_EQ(pool.acquire(key(), 150, start), std::nullopt) << "taken";
    EXPECT_EQ(pool.acquire(key(), 5000, start), 5000) << "a client's own port needs no allowed one";
    pool.release(key(), 150);
    EXPECT_EQ(pool.acquire(key(), 0, start), 150) << "the only one";
  }
}

TEST(PortPool, EveryPortOfTheDefaultRangesOnce) {
  PortPool pool({.assignable = kDefault, .ephemeral = {32768, 60999}, .node_ports = kNodePorts});
  std::set<std::uint16_t> given;
  while (const auto port = pool.acquire(key(), 0, given.size() * 7919)) ASSERT_TRUE(given.insert(*port).second);
  EXPECT_EQ(given.size(), 28976u + 4536u - 1u);  // 1024-29999, 61000-65535, less the nodePort 2000
}

TEST(PortPool, EachEndpointEgressAndProtocolHasAllPorts) {
  constexpr std::array<PortInterval, 1> one{{{7000, 7000}}};
  PortPool pool({.assignable = one, .ephemeral = {32768, 60999}, .node_ports = {}});
  const std::vector<PoolKey> keys{key(),
                                  key("10.28.8.6:80"),
                                  key("10.28.8.5:81"),
                                  key("10.28.8.5:80", "10.128.0.6"),
                                  key("10.28.8.5:80", "10.128.0.5", Protocol::udp),
                                  key("[fd00::5]:80", "fd00::1")};
  for (const PoolKey& each : keys) EXPECT_EQ(pool.acquire(each, 0, 0), 7000);
  for (const PoolKey& each : keys) EXPECT_EQ(pool.acquire(each, 0, 0), std::nullopt);
  pool.release(keys[1], 7000);
  for (const PoolKey& each : keys) EXPECT_EQ(pool.acquire(each, 0, 0).has_value(), each == keys[1]);
}

class Held : public testing::Test {
 protected:
  static constexpr std::array<PortInterval, 1> kFour{{{10, 13}}};
  PortPool pool{{.assignable = kFour, .ephemeral = {32768, 60999}, .node_ports = {}}};
  void acquire(std::uint16_t port) { ASSERT_EQ(pool.acquire(key(), port, 0), port); }
  std::optional<std::uint16_t> oldest() { return pool.oldest_held(key()); }
};

TEST_F(Held, OldestFirst) {
  for (std::uint16_t port = 10; port <= 13; ++port) acquire(port);
  EXPECT_EQ(oldest(), std::nullopt) << "all are in use";
  pool.hold(key(), 12), pool.hold(key(), 10), pool.hold(key(), 13);
  pool.hold(key(), 12);  // again: keeps its place
  for (const std::uint16_t expected : {std::uint16_t{12}, std::uint16_t{10}, std::uint16_t{13}}) {
    EXPECT_EQ(pool.acquire(key(), 0, 0), std::nullopt) << "a held port is still in use";
    EXPECT_EQ(oldest(), expected);
    EXPECT_EQ(oldest(), expected) << "asking changes nothing";
    pool.release(key(), expected);
    EXPECT_EQ(pool.acquire(key(), 0, 0), expected);
  }
  EXPECT_EQ(oldest(), std::nullopt) << "11 is in use, the others are again";
}

TEST_F(Held, APortHeldAgainIsTheYoungest) {
  acquire(10), acquire(11), acquire(12);
  pool.hold(key(), 10), pool.hold(key(), 11);
  pool.release(key(), 11);  // from the middle
  pool.hold(key(), 12);
  acquire(11), pool.hold(key(), 11);  // another connection
  pool.release(key(), 10);
  EXPECT_EQ(oldest(), 12);
  pool.release(key(), 12);
  EXPECT_EQ(oldest(), 11);
  pool.release(key(), 11);
  EXPECT_EQ(oldest(), std::nullopt);
}

TEST_F(Held, OnlyAPortInUseCanBeHeld) {
  pool.hold(key(), 10);
  EXPECT_EQ(oldest(), std::nullopt) << "no pool yet";
  acquire(10);
  pool.release(key(), 10);
  pool.hold(key(), 10);
  EXPECT_EQ(oldest(), std::nullopt) << "released already";
  pool.release(key(), 10);
  pool.release(key("10.9.9.9:9"), 10);  // never seen: harmless
  EXPECT_EQ(pool.oldest_held(key("10.9.9.9:9")), std::nullopt);
}

TEST_F(Held, AClaimedPortIsTheClaimersWhateverTheRules) {
  EXPECT_TRUE(pool.claim(key(), 10, false));
  EXPECT_FALSE(pool.claim(key(), 10, false)) << "once";
  EXPECT_TRUE(pool.claim(key("10.28.8.6:80"), 10, false)) << "another pool";
  EXPECT_TRUE(pool.claim(key(), 40000, false)) << "neither kept nor assigned, but a flow has it";
  EXPECT_TRUE(pool.claim(key(), 12, true) && pool.claim(key(), 11, true));
  EXPECT_EQ(pool.acquire(key(), 10, 0), 13) << "the only one left";
  EXPECT_EQ(oldest(), 12) << "in the order of the claims";
  pool.release(key(), 12);
  EXPECT_EQ(oldest(), 11);
  pool.release(key(), 10);
  EXPECT_TRUE(pool.claim(key(), 10, false)) << "released like any other";
}

TEST(PortPool, ThreadsNeverShareAPort) {
  constexpr int kThreads = 4, kSteps = 3000;
  constexpr std::array<PortInterval, 1> range{
      {{5000, 5019}}};  // 20 ports for 4 threads with up to 8 each: some are refused
  PortPool pool({.assignable = range, .ephemeral = {32768, 60999}, .node_ports = {}});
  std::array<std::atomic<int>, 65536> owners{};
  std::atomic<int> wrong{0};
  const auto run = [&](unsigned thread) {
    std::vector<std::uint16_t> mine;
    for (unsigned step = 0; step < kSteps; ++step) {
      if (mine.size() < 8) {
        // The threads prefer the same ports.
        if (const auto port = pool.acquire(key(), static_cast<std::uint16_t>(5000 + step % 20), step * 31 + thread)) {
          if (++owners[*port] != 1) ++wrong;
          mine.push_back(*port);
          if (step % 2) pool.hold(key(), *port);
        }
      }
      if (mine.size() == 8 || step % 5 == 0) {
        for (const std::uint16_t port : mine) --owners[port], pool.release(key(), port);
        mine.clear();
      }
    }
    for (const std::uint16_t port : mine) --owners[port], pool.release(key(), port);
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(run, i);
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(pool.oldest_held(key()), std::nullopt);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(pool.acquire(key(), 0, 0).has_value()) << "all are free again";
  EXPECT_EQ(pool.acquire(key(), 0, 0), std::nullopt);
}

}  // namespace
}  // namespace limpet::flow
