// kill -9 at any instruction: what is left is always a table.
//
//   EveryInstruction   one process creates, links, commits, masquerades and removes a flow, one instruction at a time
//                      (ptrace); after each its memory is copied, recovered and looked at: all the instants there are
//   RandomInstants     threads work on few flows until they are killed, some thousand times on the same memory: what several
//                      torn records and held buckets at once can do
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conntrack/flow/port_pool.h"
#include "tests/unit/flow/sample_flows.h"
#include "tests/unit/flow/table_memory.h"

namespace limpet::flow {
namespace {

using net::AddressPort;
using net::Protocol;
using net::Tuple;

#ifdef __SANITIZE_THREAD__
constexpr bool kThreadSanitizer = true;
#else
constexpr bool kThreadSanitizer = false;
#endif

/// Memory that a child process shares.
class SharedMemory {
 public:
  explicit SharedMemory(std::size_t bytes) : bytes_(bytes) {
    void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    start_ = static_cast<std::byte*>(memory);
  }
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory() { ::munmap(start_, bytes_); }
  std::span<std::byte> bytes() const noexcept { return {start_, bytes_}; }

 private:
  std::size_t bytes_;
  std::byte* start_;
};

constexpr auto anyone = [](const Flow&) { return true; };

// ---- every instruction ----

constexpr std::uint32_t kCapacity = 400;
constexpr std::uint16_t kNeighbours = 300;  // in 1,024 buckets: many keys share one
constexpr std::uint16_t kFirst = 1000, kSecond = 1001;

Instant own_deadline(std::uint16_t port) {
  return Instant{Seconds{port}};
}

/// What the child does with a flow that has the first record never used, then with one that has a used one.
void live_and_die(FlowTable& table, std::uint16_t port) {
  LockedFlow flow = masquerade(table, port);
  flow->deadline = own_deadline(port);  // its first packet leaves
  flow.unlock();
  table.remove(table.find(keys(port).inner));
}

/// Start a child that stops before its first step. -1: ptrace is not permitted here.
pid_t start_traced(FlowTable& table) {
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(77);
    ::raise(SIGSTOP);
    live_and_die(table, kFirst);
    live_and_die(table, kSecond);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSTOPPED(status) ? child : -1;
}

TEST(FlowKill, EveryInstruction) {
  if (kThreadSanitizer) GTEST_SKIP() << "ThreadSanitizer's own instructions are too many";
  TableMemory copy(kCapacity);
  SharedMemory memory(copy.bytes().size());
  FlowTable table(copy.options(), memory.bytes());
  for (std::uint16_t port = 1; port <= kNeighbours; ++port) masquerade(table, port).unlock();
  const pid_t child = start_traced(table);
  if (child < 0) GTEST_SKIP() << "ptrace is not permitted here";

  std::vector<std::string> states;  // of both flows, each change of what recovery makes of it
  std::size_t steps = 0, wrong = 0;
  for (int status = 0; ::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr) == 0; ++steps) {
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    if (WIFEXITED(status)) break;
    copy.copy(memory.bytes());
    FlowTable after(copy.options(), copy.bytes());
    // A flow whose first packet has not left is due: with the deadline of the one that had its record before it would
    // be taken over.
    const FlowRecovery recovered = after.recover([&](const Flow& flow) {
      wrong += flow.deadline != Instant{} && flow.deadline != own_deadline(flow.client.port);
      return true;
    });
    std::string state = found(after, keys(kFirst)) + "/" + found(after, keys(kSecond));
    if (!recovered.usable || recovered.damaged != 0 || recovered.kept != kNeighbours + (state == "/" ? 0u : 1u))
      ++wrong;
    if (steps % 16 == 0) {
      for (std::uint16_t port = 1; port <= kNeighbours; ++port)
        wrong += found(after, keys(port)) != "outer middle inner";
    }
    if (states.empty() || states.back() != state) states.push_back(std::move(state));
  }
  EXPECT_EQ(wrong, 0u);
  EXPECT_THAT(states, testing::ElementsAre("/", "outer middle/", "outer middle inner/", "/", "/outer middle",
                                           "/outer middle inner", "/"));
  EXPECT_GT(steps, 1000u);
  std::printf("%zu instants\n", steps);
}

// ---- random instants ----

constexpr std::uint32_t kFlows = 48;
constexpr unsigned kThreads = 3;
constexpr std::uint16_t kClients = 16;
constexpr std::array<PortInterval, 1> kPorts{{{2000, 2019}}};  // fewer than there may be flows
constexpr std::array<std::string_view, 2> kServices{"10.31.240.99:80", "10.31.240.98:80"};
constexpr std::array<std::string_view, 2> kEndpoints{"10.28.8.5:80", "10.28.8.6:80"};
const net::Address kEgress = at("10.128.0.5:0").address;

AddressPort client(std::uint16_t port) {
  return {at("203.0.113.7:0").address, port};
}
PoolKey pool_of(const Flow& flow) {
  return {flow.protocol, kEgress, flow.endpoint};
}

/// One thread of the process that will be killed: the steps of the pipeline, in its order.
class Writer {
 public:
  Writer(FlowTable& table, PortPool& ports, std::uint64_t seed) : table_(table), ports_(ports), random_(seed) {}
  void step() {
    const Tuple outer{Protocol::tcp, client(number(1, kClients)), at(kServices[number(0, 1)])};
    LockedFlow flow = table_.find(outer);
    if (!flow) return begin(outer);
    if (flow->masquerade && flow->egress.port == 0) return masquerade(*flow);
    if (number(0, 3) == 0) return end(std::move(flow));
    flow->tcp.adopt();
    flow->replied = true;
    flow->deadline = Instant{Seconds{number(1, 1000)}};
  }

 private:
  std::uint16_t number(unsigned from, unsigned to) {
    return static_cast<std::uint16_t>(std::uniform_int_distribution<unsigned>(from, to)(random_));
  }
  void begin(const Tuple& outer) {
    LockedFlow flow;
    if (table_.create(outer, flow) != FlowTable::Create::created) return;
    flow->endpoint = at(kEndpoints[number(0, 1)]);
    flow->masquerade = number(0, 1) == 1;
    bool linked = table_.link(*flow, KeyRole::middle);
    for (unsigned tries = 0; !linked && tries < 3; ++tries) {
      flow->client_near.port = number(1000, 1003);
      linked = table_.link(*flow, KeyRole::middle);
    }
    if (!linked) return table_.remove(std::move(flow));
    table_.commit(*flow);
  }
  void masquerade(Flow& flow) {
    const auto port = ports_.acquire(pool_of(flow), 0, random_());
    if (!port) return;
    flow.egress = {kEgress, *port};
    if (table_.link(flow, KeyRole::inner)) return;
    flow.egress.port = 0;
    ports_.release(pool_of(flow), *port);
  }
  void end(LockedFlow flow) {
    if (flow->egress.port != 0) ports_.release(pool_of(*flow), flow->egress.port);
    table_.remove(std::move(flow));
  }

  FlowTable& table_;
  PortPool& ports_;
  std::mt19937_64 random_;
};

/// Every pair that a flow can ever have had.
std::vector<Tuple> universe() {
  std::vector<Tuple> all;
  for (const auto& endpoint : kEndpoints) {
    for (std::uint16_t port = 1; port <= kClients; ++port) all.push_back({Protocol::tcp, client(port), at(endpoint)});
    for (std::uint16_t port = 1000; port <= 1003; ++port) all.push_back({Protocol::tcp, client(port), at(endpoint)});
    for (std::uint16_t port = 2000; port <= 2019; ++port) all.push_back({Protocol::tcp, {kEgress, port}, at(endpoint)});
  }
  for (const auto& service : kServices) {
    for (std::uint16_t port = 1; port <= kClients; ++port) all.push_back({Protocol::tcp, client(port), at(service)});
  }
  return all;
}

/// Empty, or what is wrong with a table that has just been recovered.
std::string judge(FlowTable& table) {
  std::map<Tuple, std::pair<const Flow*, KeyRole>> keys;
  std::string wrong;
  const auto rest = table.visit(0, kFlows, [&](const Flow& flow) {
    for (const KeyRole role : {KeyRole::outer, KeyRole::middle, KeyRole::inner}) {
      if (role == KeyRole::inner && flow.egress.port == 0) continue;
      const Ends ends = flow.ends(role);
      if (!keys.insert({{flow.protocol, ends.near, ends.far}, {&flow, role}}).second) wrong += "a pair stands twice; ";
    }
  });
  if (rest) wrong += "more records than there are; ";
  for (const Tuple& tuple : universe()) {
    const LockedFlow flow = table.find(tuple);
    const auto expected = keys.find(tuple);
    if (expected == keys.end()) {
      if (flow) wrong += "found, and no flow's: " + tuple.to_string() + "; ";
    } else if (!flow || &*flow != expected->second.first || flow.role() != expected->second.second) {
      wrong += "not found, or another: " + tuple.to_string() + "; ";
    }
  }
  std::set<const Flow*> records;
  table.visit(0, kFlows, [&](const Flow& flow) { records.insert(&flow); });
  LockedFlow flow;
  for (std::uint16_t port = 1;
       table.create({Protocol::udp, client(port), at("10.0.0.9:9")}, flow) == FlowTable::Create::created; ++port) {
    if (!records.insert(&*flow).second) wrong += "a record was given to two; ";
    flow.unlock();
  }
  if (records.size() != kFlows) wrong += "a record was lost; ";
  return wrong;
}

/// A process that works on the table, killed after this time.
void work_and_die(FlowTable& table, PortPool& ports, std::atomic<unsigned>& started, std::uint64_t seed,
                  std::chrono::microseconds lifetime) {
  started = 0;
  const pid_t child = ::fork();
  if (child == 0) {
    std::vector<std::thread> threads;
    for (unsigned i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        Writer writer(table, ports, seed * kThreads + i);
        ++started;
        for (;;) writer.step();
      });
    }
    for (;;) ::pause();
  }
  ASSERT_GT(child, 0);
  while (started < kThreads) std::this_thread::sleep_for(std::chrono::microseconds(20));
  std::this_thread::sleep_for(lifetime);
  ::kill(child, SIGKILL);
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
}

TEST(FlowKill, RandomInstants) {
  constexpr unsigned kRounds = 2000;
  constexpr auto kBudget = std::chrono::seconds(8);
  const std::uint64_t seed = std::random_device{}();
  std::printf("seed %lu\n", static_cast<unsigned long>(seed));
  std::mt19937_64 random(seed);
  TableMemory copy(kFlows);
  SharedMemory memory(copy.bytes().size()), flag(sizeof(std::atomic<unsigned>));
  auto& started = *new (flag.bytes().data()) std::atomic<unsigned>(0);

  const auto give_up = std::chrono::steady_clock::now() + kBudget;
  unsigned rounds = 0, torn = 0;
  std::uint64_t kept = 0;
  for (; rounds < kRounds && std::chrono::steady_clock::now() < give_up; ++rounds) {
    FlowTable table(copy.options(), memory.bytes());
    PortPool ports({.assignable = kPorts, .ephemeral = {}, .node_ports = {}});
    const FlowRecovery recovered = table.recover(
        [&](const Flow& flow) { return flow.egress.port == 0 || ports.claim(pool_of(flow), flow.egress.port, false); });
    ASSERT_TRUE(recovered.usable);
    ASSERT_EQ(recovered.damaged, 0u) << "round " << rounds;
    ASSERT_EQ(recovered.refused, 0u) << "a port had two owners, round " << rounds;
    torn += recovered.undone + recovered.finished + recovered.mended + recovered.returned + recovered.buckets_unlocked;
    kept += recovered.kept;

    copy.copy(memory.bytes());
    FlowTable again(copy.options(), copy.bytes());
    const FlowRecovery rest = again.recover(anyone);
    ASSERT_EQ(rest.kept, recovered.kept);
    ASSERT_EQ(rest.undone + rest.finished + rest.mended + rest.returned + rest.buckets_unlocked + rest.damaged, 0u);
    ASSERT_EQ(judge(again), "") << "round " << rounds;
    work_and_die(table, ports, started, random(), std::chrono::microseconds(random() % 400));
  }
  std::printf("%u kills, %u torn records or buckets, %.1f flows kept each time\n", rounds, torn,
              static_cast<double>(kept) / rounds);
  EXPECT_GT(torn, rounds / 20) << "the kills hit nothing";
  EXPECT_GT(kept, rounds) << "there was nothing to lose";
}

}  // namespace
}  // namespace limpet::flow
