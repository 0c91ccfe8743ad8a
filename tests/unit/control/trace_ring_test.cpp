#include "lb/control/trace_ring.h"

#include <cstdint>
#include <thread>

#include <gtest/gtest.h>

namespace limpet::control {
namespace {

TEST(TraceRing, GivesBackInOrderAndSaysWhenItIsEmpty) {
  TraceRing<int, 4> ring;
  int value = 0;
  EXPECT_FALSE(ring.pop(value));
  for (int round = 0; round < 3; ++round) {  // past the end of the slots
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(ring.push(10 * round + i));
    for (int i = 0; i < 3; ++i) {
      ASSERT_TRUE(ring.pop(value));
      EXPECT_EQ(value, 10 * round + i);
    }
    EXPECT_FALSE(ring.pop(value));
  }
  EXPECT_EQ(ring.lost(), 0u);
}

TEST(TraceRing, LosesTheNewestWhenItIsFullAndCountsThem) {
  TraceRing<int, 4> ring;
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(ring.push(i));
  EXPECT_FALSE(ring.push(4));
  EXPECT_FALSE(ring.push(5));
  EXPECT_EQ(ring.lost(), 2u);
  int value = -1;
  ASSERT_TRUE(ring.pop(value));
  EXPECT_EQ(value, 0);
  EXPECT_TRUE(ring.push(6));
  for (const int expected : {1, 2, 3, 6}) {
    ASSERT_TRUE(ring.pop(value));
    EXPECT_EQ(value, expected);
  }
}

// Each record's parts agree, and numbers only grow: a torn or a repeated record would show it. None is lost uncounted.
TEST(TraceRing, CarriesWholeRecordsFromOneThreadToAnother) {
  struct Record {
    std::uint64_t number, square, copy;
  };
  constexpr std::uint64_t kRecords = 200'000;
  TraceRing<Record, 64> ring;
  std::thread writer([&ring] {
    for (std::uint64_t n = 1; n <= kRecords; ++n) ring.push({n, n * n, n});
  });
  std::uint64_t last = 0, received = 0;
  const auto take = [&](const Record& record) {
    EXPECT_EQ(record.square, record.number * record.number);
    EXPECT_EQ(record.copy, record.number);
    EXPECT_GT(record.number, last);
    last = record.number;
    ++received;
  };
  Record record;
  while (received + ring.lost() < kRecords) {
    if (ring.pop(record)) take(record);
  }
  writer.join();
  while (ring.pop(record)) take(record);
  EXPECT_EQ(received + ring.lost(), kRecords);
}

}  // namespace
}  // namespace limpet::control
