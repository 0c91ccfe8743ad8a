// kill -9, two thousand times (as many of them as fit into ten seconds). A child with three threads writes to a table
// in shared memory until it is killed; its successor, here, recovers the table and looks at all of it.
//
//   residents   clients 0 … 255: given their endpoints before the first child, refreshed by all; never erased or moved
//               on purpose: each must survive every death, with its endpoint
//   others      come, move between two endpoints, go: what is left of them must be whole
//
// An endpoint is a function of its client and scope (and, for others, of which of two it is), so that an entry that was
// put together from two shows.
#include <chrono>
#include <csignal>
#include <ctime>
#include <iostream>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lb/affinity/affinity_table.h"
#include "tests/unit/affinity/fixture.h"

namespace limpet::affinity {
namespace {

constexpr std::uint32_t kResidents = 256, kOthers = 256;
constexpr int kDeaths = 2000, kFewest = 50;
constexpr std::chrono::seconds kLongest{10};
constexpr unsigned kThreads = 3;
/// Room for all: nobody is given up. Few shards, long runs: capacity is close to what they hold.
const AffinityOptions kOptions{.capacity_v4 = 600, .capacity_v6 = 600, .key = kSecret, .workers = kThreads};

Key key_of(std::uint32_t n, bool v6) {
  const std::uint32_t scope = 1 + n % 5;
  if (!v6) return client(n, scope);
  std::array<std::uint32_t, 4> words{0xfd, n * 0x9e3779b9, n, n};
  return {scope, net::Address::from_wire(net::Family::v6, reinterpret_cast<const std::byte*>(words.data()))};
}
/// Bit 0 tells its two endpoints apart.
std::uint32_t endpoint_of(const Key& key, std::uint32_t which) {
  return (static_cast<std::uint32_t>(hash({7, 7}, key)) & ~1u) | which;
}

/// One thread of the child, until the end.
[[noreturn]] void write_for_ever(AffinityTable& table, std::uint32_t seed) {
  std::minstd_rand random(seed);
  for (std::uint32_t step = 1;; ++step) {
    const bool v6 = random() % 2 == 0;
    const Key resident = key_of(static_cast<std::uint32_t>(random() % kResidents), v6);
    table.get_or_assign(resident, ms(step), always, [&] { return endpoint_of(resident, 1); });  // 1: it was lost
    const Key other = key_of(kResidents + static_cast<std::uint32_t>(random() % kOthers), v6);
    const auto which = static_cast<std::uint32_t>(random() % 2);
    const auto assigned = table.get_or_assign(
        other, ms(step), [&](std::uint32_t endpoint) { return random() % 4 != 0 && endpoint != 0; },
        [&] { return endpoint_of(other, which); });
    if (random() % 2 == 0) table.confirm(other, assigned.endpoint, ms(step));
    if (random() % 2 == 0) table.erase(key_of(kResidents + static_cast<std::uint32_t>(random() % kOthers), v6));
    if (step % 64 == 0) table.sweep(64, ms(step));
  }
}

class Slain : public testing::Test {
 protected:
  void SetUp() override {
    bytes_ = AffinityTable::memory(kOptions);
    void* const memory = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    memory_ = {static_cast<std::byte*>(memory), bytes_};
    AffinityTable table(kOptions, memory_);
    for (std::uint32_t n = 0; n < 2 * kResidents; ++n) {
      const Key key = key_of(n / 2, n % 2 != 0);
      ASSERT_TRUE(table.put(key, endpoint_of(key, 0), ms(0), true));
    }
  }
  void TearDown() override { ::munmap(memory_.data(), bytes_); }

  /// A child that writes, and its end after `microseconds`.
  void write_and_die(std::uint32_t seed, std::uint32_t microseconds) const {
    const pid_t child = ::fork();
    if (child == 0) {
      AffinityTable table(kOptions, memory_);
      std::vector<std::thread> threads;
      for (unsigned i = 1; i < kThreads; ++i)
        threads.emplace_back([&, i] { write_for_ever(table, seed * kThreads + i); });
      write_for_ever(table, seed * kThreads);
    }
    const timespec pause{0, static_cast<long>(microseconds) * 1000};
    ::nanosleep(&pause, nullptr);
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status)) << "it ended by itself";
  }

  /// All that must hold of what the dead have left. A lock word that is still held would stop it for ever.
  static void inspect(const AffinityTable& table) {
    std::set<std::pair<std::uint32_t, net::Address>> seen;
    std::uint64_t provisional = 0;
    for (Cursor cursor; !cursor.at_end();) {
      cursor = table.visit(cursor, 4096, ms(0), [&](const EntryView& entry) {
        ASSERT_TRUE(seen.emplace(entry.key.scope, entry.key.client).second) << "twice";
        ASSERT_EQ(entry.endpoint & ~1u, endpoint_of(entry.key, 0)) << "a wrong endpoint";
        ASSERT_EQ(table.find(entry.key, ms(0)), entry.endpoint) << "out of reach";
        provisional += !entry.confirmed;
      });
    }
    ASSERT_EQ(table.counts().entries, seen.size());
    ASSERT_EQ(table.counts().provisional, provisional);
    for (std::uint32_t n = 0; n < 2 * kResidents; ++n) {
      const Key key = key_of(n / 2, n % 2 != 0);
      ASSERT_EQ(table.find(key, ms(0)), endpoint_of(key, 0)) << "resident " << n << " was lost";
    }
  }

  std::size_t bytes_ = 0;
  std::span<std::byte> memory_;
};

TEST_F(Slain, TwoThousandTimes) {
  constexpr unsigned kSeed = 20240611;
  std::mt19937 random(kSeed);
  RecoveryCounts total;
  const auto start = std::chrono::steady_clock::now();
  int death = 0;
  for (; death < kDeaths && std::chrono::steady_clock::now() - start < kLongest; ++death) {
    SCOPED_TRACE("seed " + std::to_string(kSeed) + ", death " + std::to_string(death));
    write_and_die(static_cast<std::uint32_t>(random() & 0xffff), static_cast<std::uint32_t>(50 + random() % 1000));
    AffinityTable table(kOptions, memory_);
    total += table.recover(ms(0));
    ASSERT_NO_FATAL_FAILURE(inspect(table));
    ASSERT_EQ(evicted(table.counts()), 0u) << "there is room for all";
  }
  std::cout << death << " deaths left " << total.torn_shards << " locks held, " << total.moved
            << " entries out of reach and " << total.duplicates << " twice; none lost, none wrong\n";
  EXPECT_GE(death, kFewest);
  // One in a hundred or so comes inside of a critical section; a sanitizer leaves time for few deaths.
  if (death == kDeaths) {
    EXPECT_GT(total.torn_shards, 0u) << "the deaths must come inside of critical sections too";
  }
}

}  // namespace
}  // namespace limpet::affinity
