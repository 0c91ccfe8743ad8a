// Who is traced, and that traces may begin and end while workers run.
#include "lb/control/tracing.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/control/fakes.h"

namespace limpet::control {
namespace {

using datapath::Hook;
using datapath::Observers;
using flow::KeyRole;
using test::PacketBuilder;

constexpr std::size_t kAll = 10'000;

class TracingTest : public testing::Test {
 protected:
  datapath::Observer* observer(unsigned worker = 0) const { return published.load()->of(worker); }

  datapath::Published<Observers> published{std::make_shared<const Observers>()};
  Tracing tracing{published, 2};
};

TEST_F(TracingTest, NobodyObservesButWhileSomebodyTraces) {
  EXPECT_EQ(observer(), nullptr);
  {
    const auto trace = tracing.start(ip("10.1.0.2"));
    ASSERT_NE(observer(0), nullptr);
    EXPECT_NE(observer(0), observer(1));
  }
  EXPECT_EQ(observer(), nullptr);
}

TEST_F(TracingTest, AllowsAFewAtOnce) {
  std::vector<std::unique_ptr<Tracing::Trace>> traces;
  for (std::size_t i = 0; i < Tracing::kTraces; ++i) traces.push_back(tracing.start(ip("10.1.0.2")));
  EXPECT_EQ(tracing.start(ip("10.1.0.3")), nullptr);
  traces.pop_back();
  EXPECT_NE(tracing.start(ip("10.1.0.3")), nullptr);
}

/// An ICMP error from a router about a packet of the client's.
test::Bytes error_about(const test::Bytes& quoted) {
  return PacketBuilder().v4("10.9.9.9", "10.3.0.1").icmp(3, 3).payload(quoted).build();
}

TEST_F(TracingTest, KnowsAClientsPacketsFromOthers) {
  const std::string client = "10.1.0.2";
  struct Case {
    const char* name;
    Crossed crossed;
    bool told;
  };
  const auto tcp = [](const char* from, const char* to) { return tcp_packet(from, 40000, to, 80); };
  Case cases[] = {
      {"its request", Crossed(tcp("10.1.0.2", "10.96.0.10")), true},
      {"its request, hidden behind the node",
       Crossed(tcp("10.1.0.2", "10.2.0.1")).leaves_as(tcp("10.3.0.1", "10.2.0.1")), true},
      {"a reply to the node that becomes its own",
       Crossed(tcp("10.2.0.1", "10.3.0.1")).leaves_as(tcp("10.2.0.1", "10.1.0.2")), true},
      {"a reply to the node that is dropped, of its flow", Crossed(tcp("10.2.0.1", "10.3.0.1")).of_client(client),
       true},
      {"a reply to it", Crossed(tcp("10.96.0.10", "10.1.0.2")), true},
      {"an error that quotes its packet", Crossed(error_about(tcp("10.1.0.2", "10.2.0.1"))).of_client(client), true},
      {"another's request", Crossed(tcp("10.1.0.3", "10.96.0.10")), false},
      {"another's flow", Crossed(tcp("10.2.0.1", "10.3.0.1")).of_client("10.1.0.3"), false},
      {"an IPv6 packet with the same bytes", Crossed(tcp("::10.1.0.2", "fd96::10")), false},
      {"too short for an address", Crossed(test::Bytes(12, std::byte{0x45})), false},
      {"nothing at all", Crossed(test::Bytes()), false},
  };
  const auto trace = tracing.start(ip(client));
  for (Case& one : cases) {
    SCOPED_TRACE(one.name);
    one.crossed.tell(*observer());
    EXPECT_EQ(trace->drain(kAll).size(), one.told ? 1u : 0u);
  }
}

TEST_F(TracingTest, TellsWhatThePacketWasAndWhatItBecame) {
  const auto trace = tracing.start(ip("fd01::2"));
  datapath::Decision decision;
  decision.action = datapath::Action::dnat;
  decision.endpoint = at("[fd02::1]:8080");
  Crossed(tcp_packet("fd01::2", 40000, "fd96::10", 80))
      .leaves_as(tcp_packet("fd01::2", 40000, "fd02::1", 8080))
      .decided(decision)
      .tell(*observer(1));
  Crossed(tcp_packet("fd02::1", 8080, "fd01::2", 40000, "SA"))
      .leaves_as(tcp_packet("fd96::10", 80, "fd01::2", 40000, "SA"))
      .at_hook(Hook::postrouting)
      .hits(KeyRole::middle)
      .tell(*observer(0));
  const auto records = trace->drain(kAll);
  ASSERT_EQ(records.size(), 2u);
  const datapath::PathStep first = to_step(records[0]);  // of two workers, in the order that they were seen in
  EXPECT_EQ(first.number, 1u);
  EXPECT_EQ(first.hook, Hook::prerouting);
  EXPECT_EQ(first.before.tuple.to_string(), "tcp [fd01::2]:40000 -> [fd96::10]:80");
  EXPECT_EQ(first.after.tuple.to_string(), "tcp [fd01::2]:40000 -> [fd02::1]:8080");
  EXPECT_EQ(first.before.detail, "S");
  EXPECT_EQ(first.decision->endpoint, decision.endpoint);
  EXPECT_EQ(first.outcome, datapath::Counter::rewritten);
  const datapath::PathStep second = to_step(records[1]);
  EXPECT_EQ(second.number, 2u);
  EXPECT_EQ(second.hit, KeyRole::middle);
  EXPECT_EQ(second.before.detail, "SA");
  EXPECT_EQ(second.after.tuple.source.to_string(), "[fd96::10]:80");
  EXPECT_TRUE(trace->drain(kAll).empty());
}

// What is beyond the head of a packet says nothing of what the packet is.
TEST_F(TracingTest, ReadsALongPacketByItsHead) {
  const auto trace = tracing.start(ip("10.1.0.2"));
  const test::Bytes quoted =
      PacketBuilder().v4("10.1.0.2", "10.2.0.1").ip_options(40).udp(5353, 53).payload(std::string(1200, 'x')).build();
  const test::Bytes error =
      PacketBuilder().v4("10.9.9.9", "10.1.0.2").ip_options(40).icmp(3, 4).payload(quoted).build();
  Crossed(error).tell(*observer());
  const auto records = trace->drain(kAll);
  ASSERT_EQ(records.size(), 1u);
  const datapath::PathStep step = to_step(records[0]);
  EXPECT_EQ(step.before.kind, datapath::PacketFacts::Kind::icmp_error);
  EXPECT_EQ(step.before.detail, "fragmentation-needed");
  EXPECT_EQ(step.before.quoted.to_string(), "udp 10.1.0.2:5353 -> 10.2.0.1:53");
}

TEST_F(TracingTest, EachTraceHasItsOwnClientAndItsOwnNumbers) {
  const auto one = tracing.start(ip("10.1.0.2"));
  Crossed(tcp_packet("10.1.0.2", 1, "10.96.0.10", 80)).tell(*observer());
  const auto other = tracing.start(ip("10.1.0.3"));  // workers get new observers, the first trace goes on
  Crossed(tcp_packet("10.1.0.2", 2, "10.96.0.10", 80)).tell(*observer());
  Crossed(tcp_packet("10.1.0.2", 3, "10.1.0.3", 80)).tell(*observer());
  const auto ones = one->drain(kAll);
  ASSERT_EQ(ones.size(), 3u);
  EXPECT_EQ(ones[2].sequence, 2u);
  const auto others = other->drain(kAll);
  ASSERT_EQ(others.size(), 1u);
  EXPECT_EQ(others[0].sequence, 0u);
}

TEST_F(TracingTest, CountsWhatFoundNoRoom) {
  const auto trace = tracing.start(ip("10.1.0.2"));
  Crossed packet(tcp_packet("10.1.0.2", 1, "10.96.0.10", 80));
  for (int i = 0; i < 3000; ++i) packet.tell(*observer());
  const std::size_t kept = trace->drain(kAll).size();
  EXPECT_GT(kept, 0u);
  EXPECT_EQ(kept + trace->lost(), 3000u);
  packet.tell(*observer());
  const auto next = trace->drain(kAll);
  ASSERT_EQ(next.size(), 1u);
  EXPECT_EQ(next[0].sequence, kept) << "what was lost has no number";
}

// However two workers are interrupted in the middle of a record, and whatever is lost.
TEST_F(TracingTest, NumbersComeInOrderAndWithoutAGapWhileWorkersRun) {
  constexpr std::uint64_t kRecords = 200'000;
  const auto trace = tracing.start(ip("10.1.0.2"));
  std::atomic<bool> stop{false};
  const auto work = [&](unsigned worker) {
    datapath::Published<Observers>::Reader reader(published);
    Crossed packet(tcp_packet("10.1.0.2", 1, "10.96.0.10", 80));
    while (!stop.load(std::memory_order_relaxed)) packet.tell(*reader.get().of(worker));
  };
  std::vector<std::thread> workers;
  for (unsigned worker = 0; worker < 2; ++worker) workers.emplace_back(work, worker);
  std::uint64_t next = 0, wrong = 0;
  while (next < kRecords) {
    for (const TraceRecord& record : trace->drain(256)) wrong += record.sequence != next++;
  }
  stop = true;
  for (std::thread& worker : workers) worker.join();
  EXPECT_EQ(wrong, 0u);
}

// Workers in the middle of batches, observers that come and go: nothing that is called has been freed (ASan, TSan), each
// trace sees whole records of its own client only.
TEST_F(TracingTest, TracesBeginAndEndWhileWorkersRun) {
  constexpr int kTraces = 60;
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> batches{0};
  const auto work = [&](unsigned worker) {
    datapath::Published<Observers>::Reader reader(published);
    Crossed mine(tcp_packet("10.1.0.2", 1, "10.96.0.10", 80)), others(tcp_packet("10.1.0.3", 1, "10.96.0.10", 80));
    while (!stop.load(std::memory_order_relaxed)) {
      datapath::Observer* const observer = reader.get().of(worker);
      for (int packet = 0; packet < 16 && observer != nullptr; ++packet) {
        mine.tell(*observer);
        others.tell(*observer);
      }
      batches.fetch_add(1, std::memory_order_relaxed);
    }
  };
  std::vector<std::thread> workers;
  for (unsigned worker = 0; worker < 2; ++worker) workers.emplace_back(work, worker);
  std::uint64_t seen = 0;
  for (int i = 0; i < kTraces; ++i) {
    const auto trace = tracing.start(ip("10.1.0.2"));
    const auto second = i % 3 == 0 ? tracing.start(ip("10.1.0.9")) : nullptr;
    for (const std::uint64_t until = batches + 4; batches < until;) std::this_thread::yield();
    for (const TraceRecord& record : trace->drain(kAll)) {
      EXPECT_EQ(record.connection.tuple.source.address, ip("10.1.0.2"));
      ++seen;
    }
    if (second) {
      EXPECT_TRUE(second->drain(kAll).empty());
    }
  }
  stop = true;
  for (std::thread& worker : workers) worker.join();
  EXPECT_GT(seen, 0u);
}

// A worker that sleeps holds on to what it took; nobody else does.
TEST_F(TracingTest, KeepsOldObserversForTheirReadersOnly) {
  datapath::Published<Observers>::Reader reader(published);
  auto first = tracing.start(ip("10.1.0.2"));
  datapath::Observer* const held = reader.get().of(0);
  const std::weak_ptr<const Observers> generation = published.load();
  first.reset();
  tracing.start(ip("10.1.0.3")).reset();
  EXPECT_FALSE(generation.expired());
  Crossed(tcp_packet("10.1.0.2", 1, "10.96.0.10", 80)).tell(*held);  // to nobody, but to nothing that is gone
  reader.get();
  tracing.start(ip("10.1.0.3")).reset();
  EXPECT_TRUE(generation.expired());
}

}  // namespace
}  // namespace limpet::control
