// A process killed at any instruction. A child changes a table in shared memory one instruction at a time (ptrace);
// each time the memory has changed, what a successor would find is a copy of it: recover() must make it sound again,
// with every entry that the change does not concern in place.
#include <chrono>
#include <csignal>
#include <cstring>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conntrack/store/flat_table.h"
#include "tests/support/toy_layout.h"

namespace limpet::store {
namespace {

using Layout = ToyLayout<4>;
using Table = FlatTable<Layout>;
using Contents = std::map<std::uint64_t, std::uint64_t>;
constexpr HashKey kSecret{3, 4};
constexpr std::uint32_t kCapacity = 14;  // of 20 slots: long runs, and some round the end

struct alignas(64) Bytes {
  std::byte bytes[1024];
};

/// A step is two switches of processes, and a sanitizer makes ten steps of one: no more of them than fit into this.
class Budget {
 public:
  bool spent() const { return std::chrono::steady_clock::now() - start_ > std::chrono::seconds(10); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

class Killed : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_LE(Table::memory(shape_), sizeof(Bytes));
    void* const memory = ::mmap(nullptr, sizeof(Bytes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    shared_ = static_cast<Bytes*>(memory);
  }
  void TearDown() override { ::munmap(shared_, sizeof(Bytes)); }

  Table on(Bytes& memory) const { return Table(shape_, kSecret, memory.bytes); }

  /// Runs `change` in a child, instruction by instruction; `killed(memory)` each time that the memory has changed.
  /// False if this system does not let a process trace its child.
  bool step_through(const std::function<void(Table&)>& change, const std::function<void(const Bytes&)>& killed) {
    const pid_t child = ::fork();
    if (child == 0) {
      if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(1);
      Table table = on(*shared_);
      ::raise(SIGSTOP);
      change(table);
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!WIFSTOPPED(status)) return false;
    Bytes last = *shared_;
    do {
      ::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr);
      ::waitpid(child, &status, 0);
      if (std::memcmp(&last, shared_, sizeof last) == 0) continue;
      last = *shared_;
      killed(last);
    } while (WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP);
    ::kill(child, SIGKILL);
    ::waitpid(child, &status, 0);
    return true;
  }

  /// Some entries, and one change to them that is drawn too.
  void fill(std::mt19937& random) {
    std::memset(static_cast<void*>(shared_), 0, sizeof *shared_);
    Table table = on(*shared_);
    const std::uint64_t entries = 6 + random() % (kCapacity - 5);
    for (std::uint64_t key = 0; table.counts().entries < entries; key += 1 + random() % 5) put(table, key, random());
  }
  static void put(Table& table, std::uint64_t key, std::uint64_t random) {
    const std::uint64_t hash = table.hash(key);
    const auto slot = Layout::make(key, random % 1'000'000, random % 3 == 0);
    Table::Locked shard = table.lock(hash);
    const auto place = shard.find(key, hash);
    if (place.found) return random % 2 == 0 ? shard.replace(place.index, slot) : shard.touch(place.index, slot.back());
    if (shard.full())
      shard.make_room(0, [](const Layout::Slot& other) {
        return Judgement{false, static_cast<std::uint32_t>(other[0])};
      });
    shard.insert(shard.find(key, hash).index, slot);
  }
  static void erase(Table& table, std::uint64_t key) {
    const std::uint64_t hash = table.hash(key);
    Table::Locked shard = table.lock(hash);
    const auto place = shard.find(key, hash);
    if (place.found) shard.erase(place.index);
  }
  /// Everything that was there before and after, as it was; and nothing that was in neither.
  static testing::AssertionResult is_between(const Contents& now, const Contents& before, const Contents& after) {
    for (const auto& [key, word] : before) {
      const auto stays = after.find(key);
      if (stays != after.end() && stays->second == word && !now.contains(key)) {
        return testing::AssertionFailure() << "key " << key << " was lost";
      }
    }
    for (const auto& [key, word] : now) {
      const auto was = before.find(key);
      const auto is = after.find(key);
      if (!(was != before.end() && was->second == word) && !(is != after.end() && is->second == word)) {
        return testing::AssertionFailure() << "key " << key << " was never there with this value";
      }
    }
    return testing::AssertionSuccess();
  }
  testing::AssertionResult recovers(const Bytes& torn, const Contents& before, const Contents& after) const {
    Bytes copy = torn;
    Table table = on(copy);
    table.recover();
    if (const auto sound = is_sound(table); !sound) return sound;
    return is_between(contents(table), before, after);
  }

  TableShape shape_ = Table::shape_of(kCapacity, 1);
  Bytes* shared_ = nullptr;
};

TEST_F(Killed, AtEveryInstructionOfAChange) {
  std::size_t deaths = 0;
  const Budget budget;
  for (unsigned seed = 1; seed <= 300 && !budget.spent(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    fill(random);
    const bool erases = seed % 2 == 0;
    const std::uint64_t key = erases ? contents(on(*shared_)).begin()->first : random() % 60;
    const std::uint64_t drawn = random();
    const auto change = [&](Table& table) { erases ? erase(table, key) : put(table, key, drawn); };

    const Bytes original = *shared_;
    Bytes changed = original;
    Table before = on(*shared_);
    Table after = on(changed);
    change(after);
    const Contents contents_before = contents(before);
    const Contents contents_after = contents(after);
    *shared_ = original;
    if (!step_through(change, [&](const Bytes& torn) {
          ++deaths;
          ASSERT_TRUE(recovers(torn, contents_before, contents_after));
        })) {
      GTEST_SKIP() << "ptrace is not permitted here";
    }
    ASSERT_EQ(contents(before), contents_after) << "the child got to the end";
  }
  EXPECT_GT(deaths, 10u);
}

TEST_F(Killed, AtEveryInstructionOfARecovery) {
  std::size_t deaths = 0;
  const Budget budget;
  for (unsigned seed = 1; seed <= 30 && !budget.spent(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    fill(random);
    const Contents before = contents(on(*shared_));
    const std::uint64_t key = before.begin()->first;
    Contents after = before;
    after.erase(key);
    std::vector<Bytes> torn;
    if (!step_through([&](Table& table) { erase(table, key); }, [&](const Bytes& bytes) { torn.push_back(bytes); })) {
      GTEST_SKIP() << "ptrace is not permitted here";
    }
    *shared_ = torn[random() % torn.size()];
    step_through([](Table& table) { table.recover(); },
                 [&](const Bytes& again) {
                   ++deaths;
                   ASSERT_TRUE(recovers(again, before, after));
                 });
  }
  EXPECT_GT(deaths, 10u);
}

}  // namespace
}  // namespace limpet::store
