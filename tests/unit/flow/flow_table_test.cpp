// The rules of design.md section 3: one index of unordered pairs, each pair in it at most once; and section 5: who is
// given up when the table is full.
#include "conntrack/flow/flow_table.h"

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

using Create = FlowTable::Create;
using net::AddressPort;
using net::Protocol;
using net::Tuple;

AddressPort at(std::string_view text) {
  return AddressPort::parse(text).value();
}
Tuple tuple(std::string_view source, std::string_view destination, Protocol protocol = Protocol::tcp) {
  return {protocol, at(source), at(destination)};
}
FlowTableOptions capacity(std::uint32_t n) {
  return {.capacity = n, .key = {1, 2}, .timeouts = {}};
}
Instant second(int n) {
  return Instant{Seconds{n}};
}
constexpr auto ignore = [](const Flow&) {};

struct Ends3 {
  std::string name, client, service, client_near, endpoint, egress;
};
const std::vector<Ends3> kFamilies{
    {"v4", "203.0.113.7:4242", "10.31.240.99:80", "203.0.113.7:4242", "10.28.8.5:80", "10.128.0.5:1024"},
    {"v6", "[2001:db8::7]:4242", "[fd00::99]:80", "[2001:db8::7]:4242", "[fd01::5]:80", "[fd02::5]:1024"},
    {"same address, ports only", "10.0.0.1:1", "10.0.0.1:2", "10.0.0.1:1", "10.0.0.1:3", "10.0.0.1:4"},
};

TEST(FlowTable, FoundByEveryKeyFromBothDirections) {
  for (const Ends3& ends : kFamilies) {
    SCOPED_TRACE(ends.name);
    FlowTable table(capacity(8));
    LockedFlow flow;
    ASSERT_EQ(table.create(tuple(ends.client, ends.service), flow), Create::created);
    flow->endpoint = at(ends.endpoint);
    ASSERT_TRUE(table.link(*flow, KeyRole::middle));
    flow->egress = at(ends.egress);
    ASSERT_TRUE(table.link(*flow, KeyRole::inner));
    const Flow* record = &*flow;
    flow.unlock();

    const std::array<Tuple, 3> keys{tuple(ends.client, ends.service), tuple(ends.client_near, ends.endpoint),
                                    tuple(ends.egress, ends.endpoint)};
    for (unsigned role = 0; role < kKeyRoles; ++role) {
      SCOPED_TRACE(role);
      for (const Tuple& key : {keys[role], keys[role].reversed()}) {
        LockedFlow found = table.find(key);
        ASSERT_TRUE(found);
        EXPECT_EQ(&*found, record);
        EXPECT_EQ(static_cast<unsigned>(found.role()), role);
      }
      Tuple other = keys[role];
      other.protocol = Protocol::udp;
      EXPECT_FALSE(table.find(other)) << "the protocol is part of the key";
      other = keys[role];
      std::swap(other.source.port, other.destination.port);
      const bool same_pair = ends.client.starts_with("10.0.0.1");  // both ends have one address: turned round only
      EXPECT_EQ(static_cast<bool>(table.find(other)), same_pair) << "ports belong to their addresses";
    }

    LockedFlow found = table.find(keys[1]);
    table.remove(std::move(found));
    for (const Tuple& key : keys) EXPECT_FALSE(table.find(key));
    EXPECT_EQ(table.size(), 0u);
  }
}

TEST(FlowTable, AV4AddressAndItsMappedFormAreDifferentFlows) {
  FlowTable table(capacity(4));
  LockedFlow v4, v6;
  ASSERT_EQ(table.create(tuple("192.0.2.1:7", "192.0.2.2:8"), v4), Create::created);
  ASSERT_EQ(table.create(tuple("[::ffff:192.0.2.1]:7", "[::ffff:192.0.2.2]:8"), v6), Create::created);
  EXPECT_NE(&*v4, &*v6);
}

TEST(FlowTable, APairStandsOnceWhateverTheRoles) {
  struct Clash {
    std::string name, client, service, endpoint, egress;
    KeyRole role;
  };
  // The flow in place: 10.0.0.1:1 → 10.9.9.9:80, at 10.5.5.5:80, as 10.7.7.7:7. Each newcomer's key of `role` is one
  // of its three pairs, perhaps turned round.
  const std::vector<Clash> clashes{
      {"middle = middle", "10.0.0.1:1", "10.8.8.8:80", "10.5.5.5:80", "", KeyRole::middle},
      {"middle = outer", "10.0.0.1:1", "10.8.8.8:80", "10.9.9.9:80", "", KeyRole::middle},
      {"middle = inner", "10.7.7.7:7", "10.8.8.8:80", "10.5.5.5:80", "", KeyRole::middle},
      {"middle = middle, turned", "10.5.5.5:80", "10.8.8.8:80", "10.0.0.1:1", "", KeyRole::middle},
      {"inner = inner", "10.0.0.2:1", "10.8.8.8:80", "10.5.5.5:80", "10.7.7.7:7", KeyRole::inner},
      {"inner = middle", "10.0.0.2:1", "10.8.8.8:80", "10.5.5.5:80", "10.0.0.1:1", KeyRole::inner},
      {"inner = outer", "10.0.0.2:1", "10.8.8.8:80", "10.9.9.9:80", "10.0.0.1:1", KeyRole::inner},
  };
  for (const Clash& clash : clashes) {
    SCOPED_TRACE(clash.name);
    FlowTable table(capacity(4));
    LockedFlow first;
    ASSERT_EQ(table.create(tuple("10.0.0.1:1", "10.9.9.9:80"), first), Create::created);
    first->endpoint = at("10.5.5.5:80");
    first->egress = at("10.7.7.7:7");
    ASSERT_TRUE(table.link(*first, KeyRole::middle) && table.link(*first, KeyRole::inner));
    first.unlock();
    LockedFlow second;
    ASSERT_EQ(table.create(tuple(clash.client, clash.service), second), Create::created);
    second->endpoint = at(clash.endpoint);
    if (!clash.egress.empty()) second->egress = at(clash.egress);
    EXPECT_FALSE(table.link(*second, clash.role));
    (clash.role == KeyRole::inner ? second->egress : second->client_near).port = 9999;  // the remedy: another port
    EXPECT_TRUE(table.link(*second, clash.role));
  }
}

TEST(FlowTable, CreateSaysExistsForAnyRoleAndDirection) {
  FlowTable table(capacity(4));
  LockedFlow flow;
  ASSERT_EQ(table.create(tuple("10.0.0.1:1", "10.9.9.9:80"), flow), Create::created);
  flow->endpoint = at("10.5.5.5:80");
  ASSERT_TRUE(table.link(*flow, KeyRole::middle));
  flow.unlock();
  for (const auto& [source, destination] : {std::pair{"10.0.0.1:1", "10.9.9.9:80"},
                                            {"10.9.9.9:80", "10.0.0.1:1"},
                                            {"10.0.0.1:1", "10.5.5.5:80"},
                                            {"10.5.5.5:80", "10.0.0.1:1"}}) {
    LockedFlow another;
    EXPECT_EQ(table.create(tuple(source, destination), another), Create::exists) << source;
    EXPECT_FALSE(another);
  }
  EXPECT_EQ(table.size(), 1u) << "losers give their record back";
}

// Whoever holds one record may look for another: a wait could be for ever.
TEST(FlowTable, TryFindWaitsForNobody) {
  FlowTable table(capacity(8));
  const Tuple one = tuple("10.0.0.1:1", "10.0.0.2:2"), two = tuple("10.0.0.1:1", "10.0.0.3:3");
  LockedFlow mine, other;
  ASSERT_EQ(table.create(one, mine), Create::created);
  ASSERT_EQ(table.create(two, other), Create::created);
  EXPECT_FALSE(table.try_find(one)) << "mine";
  EXPECT_FALSE(table.try_find(two)) << "somebody else's";
  EXPECT_FALSE(table.try_find(tuple("10.0.0.1:1", "10.0.0.4:4"))) << "nobody's";
  other.unlock();
  LockedFlow found = table.try_find(two.reversed());
  ASSERT_TRUE(found);
  EXPECT_EQ(found.role(), KeyRole::outer);
  table.remove(std::move(found));
  EXPECT_FALSE(table.try_find(two)) << "no longer there";
}

TEST(FlowTable, CapacityOne) {
  for (const std::uint32_t n : {0u, 1u}) {  // 0 means 1
    FlowTable table(capacity(n));
    EXPECT_EQ(table.capacity(), 1u);
    LockedFlow flow, none;
    ASSERT_EQ(table.create(tuple("10.0.0.1:1", "10.9.9.9:80"), flow), Create::created);
    EXPECT_EQ(table.create(tuple("10.0.0.2:1", "10.9.9.9:80"), none), Create::full);
    table.remove(std::move(flow));
    EXPECT_EQ(table.create(tuple("10.0.0.2:1", "10.9.9.9:80"), none), Create::created);
    EXPECT_EQ(table.size(), 1u);
  }
}

TEST(FlowTable, EveryRecordServes) {
  constexpr std::uint16_t kFlows = 3000;
  FlowTable table(capacity(kFlows));
  for (std::uint16_t round = 0; round < 2; ++round) {
    for (std::uint16_t port = 1; port <= kFlows; ++port) {
      LockedFlow flow;
      ASSERT_EQ(table.create({Protocol::udp, {at("10.0.0.1:0").address, port}, at("10.9.9.9:53")}, flow),
                Create::created);
    }
    LockedFlow none;
    EXPECT_EQ(table.create(tuple("10.0.0.2:1", "10.9.9.9:80"), none), Create::full);
    for (std::uint16_t port = 1; port <= kFlows; ++port) {
      LockedFlow flow = table.find({Protocol::udp, {at("10.0.0.1:0").address, port}, at("10.9.9.9:53")});
      ASSERT_TRUE(flow);
      EXPECT_EQ(flow->client.port, port);
      table.remove(std::move(flow));
    }
    EXPECT_EQ(table.size(), 0u);
  }
}

TEST(FlowTable, AReferenceToARemovedFlowNeverLocksAgain) {
  FlowTable table(capacity(1));
  LockedFlow flow;
  ASSERT_EQ(table.create(tuple("10.0.0.1:1", "10.9.9.9:80"), flow), Create::created);
  const FlowRef ref = table.ref(*flow);
  flow.unlock();
  LockedFlow again = table.relock(ref, KeyRole::middle);
  ASSERT_TRUE(again);
  EXPECT_EQ(again.role(), KeyRole::middle);
  table.remove(std::move(again));
  EXPECT_FALSE(table.relock(ref)) << "gone";
  ASSERT_EQ(table.create(tuple("10.0.0.1:1", "10.9.9.9:80"), flow), Create::created);
  flow.unlock();
  EXPECT_FALSE(table.relock(ref)) << "the same pair on the same record, but another flow";
  EXPECT_TRUE(table.find(tuple("10.0.0.1:1", "10.9.9.9:80"))) << "relock left no lock behind";
}

TEST(FlowTable, ANewFlowRemembersNothingOfTheRecordsLastOne) {
  FlowTable table(capacity(1));
  LockedFlow flow;
  ASSERT_EQ(table.create(tuple("10.0.0.1:1", "10.9.9.9:80"), flow), Create::created);
  flow->endpoint = at("10.5.5.5:80"), flow->egress = at("10.7.7.7:7"), flow->client_near.port = 77;
  flow->endpoint_id = {1, 2}, flow->remembered = {3, 0, 4};
  flow->masquerade = flow->confirmed = flow->replied = true;
  flow->tcp.adopt();
  table.remove(std::move(flow));
  ASSERT_EQ(table.create(tuple("10.0.0.2:2", "10.9.9.9:80"), flow), Create::created);
  EXPECT_EQ(flow->client_near, at("10.0.0.2:2"));
  EXPECT_EQ(flow->endpoint, AddressPort{});
  EXPECT_EQ(flow->egress.port, 0);
  EXPECT_FALSE(flow->endpoint_id);
  EXPECT_EQ(flow->remembered, AffinityName{});
  EXPECT_FALSE(flow->masquerade || flow->confirmed || flow->replied);
  EXPECT_EQ(flow->tcp.state(), TcpState::none);
}

enum class Kind { established, half_open, closing };
/// A flow of client port `port`, due after `deadline`.
void add(FlowTable& table, std::uint16_t port, Kind kind, int deadline) {
  LockedFlow flow;
  ASSERT_EQ(table.create({Protocol::tcp, {at("10.0.0.1:0").address, port}, at("10.9.9.9:80")}, flow), Create::created);
  if (kind != Kind::half_open) flow->tcp.adopt(), flow->replied = true;
  if (kind == Kind::closing) {
    net::PacketView reset;
    reset.tcp_flags.bits = 0x04;
    flow->tcp.see(reset, Direction::reply);
  }
  flow->deadline = second(deadline);
}
std::set<unsigned> ports_in(FlowTable& table) {
  std::set<unsigned> ports;
  for (std::uint16_t port = 1; port <= 9; ++port) {
    if (table.find({Protocol::tcp, {at("10.0.0.1:0").address, port}, at("10.9.9.9:80")})) ports.insert(port);
  }
  return ports;
}

TEST(FlowTable, SweepRemovesWhatIsDueAndTellsWhom) {
  FlowTable table(capacity(9));
  add(table, 1, Kind::established, 10), add(table, 2, Kind::half_open, 20), add(table, 3, Kind::established, 30);
  std::vector<unsigned> retired;
  const auto retire = [&](const Flow& flow) { retired.push_back(flow.client.port); };
  EXPECT_EQ(table.sweep(3, second(10), retire), 0u) << "idle until the deadline, inclusive";
  EXPECT_EQ(table.sweep(3, second(10) + Milliseconds{1}, retire), 1u);
  EXPECT_EQ(ports_in(table), (std::set<unsigned>{2, 3}));
  EXPECT_EQ(table.sweep(3, second(31), retire), 2u);
  EXPECT_THAT(retired, testing::UnorderedElementsAre(1, 2, 3));
  EXPECT_EQ(table.sweep(100, second(99), retire), 0u) << "an empty table";
}

TEST(FlowTable, SweepsGoRoundInSmallSteps) {
  FlowTable table(capacity(9));
  for (std::uint16_t port = 1; port <= 9; ++port) add(table, port, Kind::established, 1);
  std::size_t removed = 0;
  for (int call = 0; call < 9; ++call) {
    const std::size_t now = table.sweep(1, second(2), ignore);
    EXPECT_LE(now, 1u);
    removed += now;
  }
  EXPECT_EQ(removed, 9u);
}

TEST(FlowTable, SweepLeavesALockedFlowAlone) {
  FlowTable table(capacity(2));
  add(table, 1, Kind::established, 1), add(table, 2, Kind::established, 1);
  const LockedFlow busy = table.find(tuple("10.0.0.1:1", "10.9.9.9:80"));
  EXPECT_EQ(table.sweep(2, second(2), ignore), 1u);
}

TEST(FlowTable, MakeRoom) {
  struct Case {
    std::string name;
    std::vector<std::pair<Kind, int>> flows;  // client ports 1, 2, …; the deadline in seconds, now is 100
    bool made;
    std::set<unsigned> left;
  };
  const std::vector<Case> cases{
      {"every one that is due goes",
       {{Kind::established, 99}, {Kind::established, 101}, {Kind::half_open, 99}},
       true,
       {2}},
      {"due ones spare the half-open ones behind", {{Kind::established, 99}, {Kind::half_open, 101}}, true, {2}},
      {"due ones spare the half-open ones before", {{Kind::half_open, 101}, {Kind::established, 99}}, true, {1}},
      {"else one half-open flow",
       {{Kind::established, 101}, {Kind::half_open, 101}, {Kind::half_open, 101}},
       true,
       {1, 3}},
      {"one that is over counts as half-open", {{Kind::established, 101}, {Kind::closing, 101}}, true, {1}},
      {"never an established one", {{Kind::established, 101}, {Kind::established, 100}}, false, {1, 2}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    FlowTable table(capacity(static_cast<std::uint32_t>(c.flows.size())));
    std::uint16_t port = 0;
    for (const auto& [kind, deadline] : c.flows) add(table, ++port, kind, deadline);
    std::size_t told = 0;
    EXPECT_EQ(table.make_room(c.flows.size(), second(100), [&](const Flow&) { ++told; }), c.made);
    EXPECT_EQ(ports_in(table), c.left);
    EXPECT_EQ(told, c.flows.size() - c.left.size());
    EXPECT_EQ(table.size(), c.left.size());
  }
}

TEST(FlowTable, MakeRoomKeepsToItsBudget) {
  FlowTable table(capacity(3));
  add(table, 1, Kind::established, 101), add(table, 2, Kind::half_open, 101), add(table, 3, Kind::half_open, 1);
  EXPECT_FALSE(table.make_room(1, second(100), ignore));
  EXPECT_TRUE(table.make_room(1, second(100), ignore)) << "goes on where the last call ended";
  EXPECT_EQ(ports_in(table), (std::set<unsigned>{1, 3}));
}

// Ten times as many connections are begun as there is room for, by clients that never answer, or whose endpoints do.
TEST(FlowTable, AFloodOfHalfOpenFlowsCostsNoEstablishedOneItsRecord) {
  constexpr std::uint32_t kCapacity = 2000;
  for (const std::uint16_t established : {std::uint16_t{1000}, std::uint16_t{1900}, std::uint16_t{2000}}) {
    for (const bool answered : {false, true}) {
      SCOPED_TRACE(testing::Message() << established << " established, the flood is answered: " << answered);
      FlowTable table(capacity(kCapacity));
      for (std::uint16_t port = 1; port <= established; ++port) add(table, port, Kind::established, 1000);
      std::uint32_t begun = 0, refused = 0;
      for (std::uint32_t n = 0; n < 10 * kCapacity; ++n) {
        const Tuple spoofed{Protocol::tcp, {net::Address::from_v4(0xc0000000 + n), 4242}, at("10.9.9.9:80")};
        LockedFlow flow;
        Create made = table.create(spoofed, flow);
        while (made == Create::full && table.make_room(64, second(1), ignore)) made = table.create(spoofed, flow);
        if (made == Create::full) {
          ++refused;
          continue;
        }
        ++begun;
        flow->replied = answered;  // syn_sent, syn_recv
        flow->deadline = second(60);
      }
      EXPECT_EQ(begun + refused, 10 * kCapacity) << "every one is accounted for";
      EXPECT_EQ(refused == 10 * kCapacity, established == kCapacity) << "full of established ones: all are refused";
      std::uint32_t left = 0;
      for (std::uint16_t port = 1; port <= established; ++port) {
        left += static_cast<bool>(table.find({Protocol::tcp, {at("10.0.0.1:0").address, port}, at("10.9.9.9:80")}));
      }
      EXPECT_EQ(left, established);
    }
  }
}

TEST(FlowTable, VisitGoesPageByPage) {
  FlowTable table(capacity(9));
  for (std::uint16_t port = 1; port <= 5; ++port) {
    add(table, port, Kind::established, 1);
    table.commit(*table.find({Protocol::tcp, {at("10.0.0.1:0").address, port}, at("10.9.9.9:80")}));
  }
  table.remove(table.find(tuple("10.0.0.1:2", "10.9.9.9:80")));
  const LockedFlow busy = table.find(tuple("10.0.0.1:4", "10.9.9.9:80"));
  std::vector<unsigned> seen;
  const auto see = [&](const Flow& flow) { seen.push_back(flow.client.port); };
  EXPECT_EQ(table.visit(0, 3, see), 3u);
  EXPECT_THAT(seen, testing::ElementsAre(1, 3)) << "the removed one is none";
  EXPECT_EQ(table.visit(3, 100, see), std::nullopt);
  EXPECT_THAT(seen, testing::ElementsAre(1, 3, 5)) << "nor waits for the one that is busy";
  EXPECT_EQ(table.visit(77, 1, see), std::nullopt);
  std::size_t calls = 0;
  EXPECT_EQ(table.visit(0, 100, [&](const Flow&) { return ++calls < 2; }), 3u) << "as far as was asked for";
  EXPECT_EQ(calls, 2u);
  EXPECT_TRUE(table.find(tuple("10.0.0.1:5", "10.9.9.9:80"))) << "no lock is left behind";
}

// Threads create, find and remove the same few flows. The outer key of each names two middle keys in turn, so records
// change hands. What must hold: of the threads that want a pair, one creates it; nobody ever meets a flow whose keys
// are another's; every use that was created was removed once; at the end the table is empty and whole.
TEST(FlowTable, ThreadsShareAFewFlows) {
  constexpr int kThreads = 4, kSteps = 4000;
  constexpr std::uint16_t kPairs = 5;
  FlowTable table(capacity(kPairs + kThreads));
  std::array<std::atomic<int>, kPairs + 1> alive{};
  std::atomic<std::uint64_t> created{0}, removed{0}, wrong{0};
  const auto remove = [&](LockedFlow flow) {
    if (--alive[flow->client.port] != 0) ++wrong;
    ++removed;
    table.remove(std::move(flow));
  };
  const auto run = [&](unsigned thread) {
    for (unsigned step = 0; step < kSteps; ++step) {
      const auto port = static_cast<std::uint16_t>(1 + (step * 7 + thread * 3 + step / 5) % kPairs);
      const Tuple outer{Protocol::tcp, {at("10.0.0.1:0").address, port}, at("10.9.9.9:80")};
      const Tuple middle{Protocol::tcp, outer.source, at(step % 2 ? "10.5.5.5:80" : "10.5.5.6:80")};
      LockedFlow flow;
      switch (table.create(outer, flow)) {
        case Create::created:
          ++created;
          if (++alive[port] != 1) ++wrong;  // two creators of one generation
          flow->endpoint = middle.destination;
          if (!table.link(*flow, KeyRole::middle)) ++wrong;
          break;
        case Create::exists:
          flow = table.find(step % 3 ? outer : middle.reversed());
          if (!flow) continue;
          if (flow->client.port != port || flow->endpoint.port != 80) ++wrong;
          if ((flow.role() == KeyRole::outer) != (step % 3 != 0)) ++wrong;
          break;
        case Create::full:
          ++wrong;  // every thread has at most one record more than there are pairs
          continue;
      }
      const FlowRef ref = table.ref(*flow);
      if (step % 4 == 0) {
        remove(std::move(flow));
        if (table.relock(ref)) ++wrong;
      }
    }
  };
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kThreads; ++i) threads.emplace_back(run, i);
  for (std::thread& thread : threads) thread.join();

  for (std::uint16_t port = 1; port <= kPairs; ++port) {
    LockedFlow flow = table.find({Protocol::tcp, {at("10.0.0.1:0").address, port}, at("10.9.9.9:80")});
    EXPECT_EQ(static_cast<bool>(flow), alive[port] == 1) << port;
    if (flow) remove(std::move(flow));
    for (const auto* endpoint : {"10.5.5.5:80", "10.5.5.6:80"}) {
      EXPECT_FALSE(table.find({Protocol::tcp, {at("10.0.0.1:0").address, port}, at(endpoint)})) << "a key left behind";
    }
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_EQ(created, removed);
  EXPECT_GT(created, std::uint64_t{kPairs}) << "the race took place";
  EXPECT_EQ(table.size(), 0u);
}

}  // namespace
}  // namespace limpet::flow
