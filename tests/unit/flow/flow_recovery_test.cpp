// What a killed process leaves behind, state by state, as flow_table.h lists them: a table is copied while its records are
// locked, which is what a kill at that moment leaves, and recovered in the copy.
#include <array>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/flow/sample_flows.h"
#include "tests/unit/flow/table_memory.h"

namespace limpet::flow {
namespace {

using net::Protocol;

void set_linked(Flow& flow, KeyRole role, bool linked) {
  flow.linked[static_cast<unsigned>(role)] = linked;
}

struct TornCase {
  std::string name;
  std::function<LockedFlow(FlowTable&)> leave;  // a flow of client port 1, as the kill finds it: its lock is held
  std::string keys_found;                       // afterwards, of "outer middle inner"
  FlowRecovery expected;
};

const std::vector<TornCase> kTorn{
    {"created, undecided", [](FlowTable& t) { return create(t, 1); }, "", {.undone = 1}},
    {"decided, middle linked, not committed", [](FlowTable& t) { return begin(t, 1); }, "", {.undone = 1}},
    {"outer key announced, not in the index",
     [](FlowTable& t) {
       LockedFlow flow = create(t, 1);
       set_linked(*flow, KeyRole::middle, true);
       return flow;
     },
     "",
     {.undone = 1}},
    {"committed, first packet under way",
     [](FlowTable& t) { return commit(t, 1); },
     "outer middle",
     {.kept = 1, .mended = 1}},
    {"masqueraded, packet under way",
     [](FlowTable& t) { return masquerade(t, 1); },
     "outer middle inner",
     {.kept = 1, .mended = 1}},
    {"egress half written",
     [](FlowTable& t) {
       LockedFlow flow = commit(t, 1);
       flow->egress.port = 1;  // its address is still 0.0.0.0
       return flow;
     },
     "outer middle",
     {.kept = 1, .mended = 1}},
    {"egress written, not announced",
     [](FlowTable& t) {
       LockedFlow flow = commit(t, 1);
       flow->egress = keys(1).inner.source;
       return flow;
     },
     "outer middle",
     {.kept = 1, .mended = 1}},
    {"direct: its outer key alone",
     [](FlowTable& t) {
       LockedFlow flow = create(t, 1);
       flow->direct = true, flow->endpoint = flow->service;
       t.commit(*flow);
       return flow;
     },
     "outer",
     {.kept = 1, .mended = 1}},
    {"removal begun",
     [](FlowTable& t) {
       LockedFlow flow = masquerade(t, 1);
       flow->phase = Phase::ending;
       return flow;
     },
     "",
     {.finished = 1}},
    {"removal half done",
     [](FlowTable& t) {
       LockedFlow flow = masquerade(t, 1);
       flow->phase = Phase::ending;
       set_linked(*flow, KeyRole::inner, false);
       return flow;
     },
     "",
     {.finished = 1}},
    {"taken, not begun",
     [](FlowTable& t) {
       LockedFlow flow = create(t, 1);
       Flow& record = *flow;
       t.remove(std::move(flow));
       record.lock.lock();
       return LockedFlow(record, KeyRole::outer);
     },
     "",
     {.returned = 1}},
    {"damaged: live without its outer key",
     [](FlowTable& t) {
       LockedFlow flow = commit(t, 1);
       set_linked(*flow, KeyRole::outer, false);
       return flow;
     },
     "",
     {.damaged = 1}},
    {"damaged: two families",
     [](FlowTable& t) {
       LockedFlow flow = commit(t, 1);
       flow->endpoint = at("[fd00::5]:80");
       return flow;
     },
     "",
     {.damaged = 1}},
    {"damaged: a protocol without flows",
     [](FlowTable& t) {
       LockedFlow flow = commit(t, 1);
       flow->protocol = Protocol::icmp;
       return flow;
     },
     "",
     {.damaged = 1}},
};

std::array<std::uint32_t, 7> numbers(const FlowRecovery& r) {
  return {r.kept, r.undone, r.finished, r.mended, r.refused, r.damaged, r.returned};
}

constexpr auto anyone = [](const Flow&) { return true; };

TEST(FlowRecovery, EveryTornState) {
  for (const TornCase& c : kTorn) {
    SCOPED_TRACE(c.name);
    TableMemory memory(4);
    FlowTable before(memory.options(), memory.bytes());
    commit(before, 9).unlock();  // a neighbour, at rest
    const LockedFlow torn = c.leave(before);

    TableMemory copy(memory);
    FlowTable after(copy.options(), copy.bytes());
    FlowRecovery expected = c.expected;
    ++expected.kept;
    const FlowRecovery recovered = after.recover(anyone);
    EXPECT_TRUE(recovered.usable);
    EXPECT_EQ(numbers(recovered), numbers(expected));
    EXPECT_EQ(found(after, keys(1)), c.keys_found);
    EXPECT_EQ(found(after, keys(9)), "outer middle") << "the neighbour";
    EXPECT_EQ(after.size(), recovered.kept);
    if (LockedFlow flow = after.find(keys(1).middle); flow && !c.keys_found.ends_with("inner")) {
      EXPECT_EQ(flow->egress.port, 0) << "the port has not been used, and is asked for again";
    }
    for (std::uint16_t port = 100; after.size() < 4; ++port) create(after, port).unlock();
    LockedFlow none;
    EXPECT_EQ(after.create(keys(200).outer, none), FlowTable::Create::full) << "every other record serves again, once";
  }
}

TEST(FlowRecovery, FlowsAtRestGoOnAsTheyWere) {
  TableMemory memory(8);
  FlowTable before(memory.options(), memory.bytes());
  for (std::uint16_t port = 1; port <= 6; ++port) {
    LockedFlow flow = masquerade(before, port);
    flow->deadline = Instant{Seconds{100 + port}};
    flow->remembered = {1, 0, port};
    flow->replied = flow->confirmed = true;
  }
  before.remove(before.find(keys(3).inner));
  TableMemory copy(memory);
  FlowTable after(copy.options(), copy.bytes());
  std::vector<unsigned> adopted;
  const FlowRecovery recovered = after.recover([&](const Flow& flow) {
    adopted.push_back(flow.client.port);
    return flow.client.port != 5;
  });
  EXPECT_THAT(adopted, testing::ElementsAre(1, 2, 4, 5, 6));
  EXPECT_EQ(numbers(recovered), (std::array<std::uint32_t, 7>{4, 0, 0, 0, 1, 0, 0}));
  for (std::uint16_t port = 1; port <= 6; ++port) {
    SCOPED_TRACE(port);
    const bool kept = port != 3 && port != 5;
    EXPECT_EQ(found(after, keys(port)), kept ? "outer middle inner" : "");
    LockedFlow flow = after.find(keys(port).inner);
    if (!kept) continue;
    EXPECT_EQ(flow->client, keys(port).outer.source);
    EXPECT_EQ(flow->endpoint_id, (EndpointId{1, 7}));
    EXPECT_EQ(flow->deadline, Instant{Seconds{100 + port}});
    EXPECT_EQ(flow->remembered.endpoint(), port);
    EXPECT_TRUE(flow->replied && flow->confirmed && flow->masquerade);
  }
}

// A kill during recovery leaves less to do for the next one.
TEST(FlowRecovery, TwiceChangesNothing) {
  TableMemory memory(8);
  FlowTable before(memory.options(), memory.bytes());
  const LockedFlow begun = begin(before, 1), live = masquerade(before, 2);
  TableMemory copy(memory);
  FlowTable after(copy.options(), copy.bytes());
  EXPECT_EQ(numbers(after.recover(anyone)), (std::array<std::uint32_t, 7>{1, 1, 0, 1, 0, 0, 0}));
  FlowTable again(copy.options(), copy.bytes());
  EXPECT_EQ(numbers(again.recover(anyone)), (std::array<std::uint32_t, 7>{1, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(found(again, keys(2)), "outer middle inner");
}

TEST(FlowRecovery, OfFreshMemoryThereIsNothingToDo) {
  TableMemory memory(8);
  FlowTable table(memory.options(), memory.bytes());
  const FlowRecovery recovered = table.recover(anyone);
  EXPECT_TRUE(recovered.usable);
  EXPECT_EQ(numbers(recovered), (std::array<std::uint32_t, 7>{}));
}

TEST(FlowRecovery, MoreRecordsThanThereIsRoomForAreNoTable) {
  TableMemory memory(8);
  const std::uint32_t used = 9;
  std::memcpy(memory.bytes().data(), &used, sizeof used);
  FlowTable table(memory.options(), memory.bytes());
  EXPECT_FALSE(table.recover(anyone).usable);
}

TEST(FlowRecovery, TooLittleMemoryIsRefused) {
  TableMemory memory(8);
  EXPECT_THROW(FlowTable(memory.options(), memory.bytes().first(memory.bytes().size() - 1)), std::length_error);
}

TEST(FlowRecovery, LocksOfBucketsAreTakenAway) {
  TableMemory memory(8);
  FlowTable before(memory.options(), memory.bytes());
  commit(before, 1).unlock();
  TableMemory copy(memory);
  std::uint32_t word;  // the first bucket's, behind the header of one cache line; its lock is the top bit
  std::memcpy(&word, copy.bytes().data() + 64, sizeof word);
  word |= 0x80000000;
  std::memcpy(copy.bytes().data() + 64, &word, sizeof word);
  FlowTable after(copy.options(), copy.bytes());
  EXPECT_EQ(after.recover(anyone).buckets_unlocked, 1u);
  EXPECT_EQ(found(after, keys(1)), "outer middle");
}

}  // namespace
}  // namespace limpet::flow
