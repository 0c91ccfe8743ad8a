#include "lb/datapath/endpoint_load.h"

#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::datapath {
namespace {

constexpr flow::EndpointId at(std::uint32_t slot) {
  return {slot, 100 + slot};
}
constexpr FlowEvent kAll[] = {FlowEvent::opened, FlowEvent::established, FlowEvent::refused, FlowEvent::timed_out,
                              FlowEvent::closed};
static_assert(std::size(kAll) == kFlowEvents);

TEST(EndpointLoad, EachEventIsCountedForItsSlotOverAllWorkers) {
  EndpointLoad load(3, 4);
  for (std::size_t worker = 0; worker < 3; ++worker) {
    for (unsigned event = 0; event < kFlowEvents; ++event) {
      for (unsigned n = 0; n <= event; ++n) load.shard(worker).on(kAll[event], at(2));
    }
  }
  for (unsigned event = 0; event < kFlowEvents; ++event) {
    EXPECT_EQ(load.count(kAll[event], 2), 3u * (event + 1));
    for (const std::uint32_t other : {0u, 1u, 3u}) EXPECT_EQ(load.count(kAll[event], other), 0u);
  }
}

TEST(EndpointLoad, ActiveIsOpenedLessClosedWhoeverCounted) {
  EndpointLoad load(2, 1);
  EXPECT_EQ(load.active(0), 0u);
  for (int i = 0; i < 5; ++i) load.shard(0).on(FlowEvent::opened, at(0));
  for (int i = 0; i < 2; ++i) load.shard(1).on(FlowEvent::closed, at(0));  // another worker retired them
  load.shard(0).on(FlowEvent::established, at(0)), load.shard(0).on(FlowEvent::refused, at(0));
  EXPECT_EQ(load.active(0), 3u);
  for (int i = 0; i < 4; ++i) load.shard(1).on(FlowEvent::closed, at(0));
  EXPECT_EQ(load.active(0), 0u) << "never below zero, in whatever order the counters are read";
}

TEST(EndpointLoad, ASlotBeyondTheArrayIsIgnored) {
  EndpointLoad load(1, 2);
  load.shard(0).on(FlowEvent::opened, at(2));
  load.shard(0).on(FlowEvent::opened, at(0xffffffff));
  EXPECT_EQ(load.count(FlowEvent::opened, 0) + load.count(FlowEvent::opened, 1), 0u);
}

TEST(EndpointLoad, WorkersCountSideBySideWhileAnotherReads) {
  constexpr unsigned kWorkers = 3, kEvents = 20'000;
  EndpointLoad load(kWorkers, 2);
  std::vector<std::thread> workers;
  for (unsigned worker = 0; worker < kWorkers; ++worker) {
    workers.emplace_back([&load, worker] {
      for (unsigned i = 0; i < kEvents; ++i) load.shard(worker).on(FlowEvent::opened, at(i % 2));
    });
  }
  std::uint64_t last = 0;
  bool fell = false;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t now = load.active(0);
    fell |= now < last;
    last = now;
  }
  for (std::thread& worker : workers) worker.join();
  EXPECT_FALSE(fell) << "counters are monotone";
  EXPECT_EQ(load.active(0), kWorkers * kEvents / 2);
  EXPECT_EQ(load.count(FlowEvent::opened, 1), kWorkers * kEvents / 2);
}

}  // namespace
}  // namespace limpet::datapath
