#include "lb/datapath/epochs.h"

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::datapath {
namespace {

TEST(Epochs, frees_at_once_when_all_workers_wait) {
  Epochs epochs(2);
  auto object = std::make_shared<int>(1);
  const std::weak_ptr<int> alive = object;
  epochs.retire(std::move(object));
  EXPECT_FALSE(alive.expired());
  EXPECT_EQ(epochs.reclaim(), 0u);
  EXPECT_TRUE(alive.expired());
}

TEST(Epochs, waits_for_a_batch_that_began_before) {
  Epochs epochs(2);
  epochs.enter(1);
  auto object = std::make_shared<int>(1);
  const std::weak_ptr<int> alive = object;
  epochs.retire(std::move(object));
  epochs.enter(0);  // cannot have seen it
  EXPECT_EQ(epochs.reclaim(), 1u);
  EXPECT_FALSE(alive.expired());
  epochs.leave(1);
  EXPECT_EQ(epochs.reclaim(), 0u);
  EXPECT_TRUE(alive.expired());
}

TEST(Epochs, a_later_batch_of_the_same_worker_holds_nothing_up) {
  Epochs epochs(1);
  epochs.enter(0);
  epochs.retire(std::make_shared<int>(1));
  epochs.leave(0);
  epochs.enter(0);
  EXPECT_EQ(epochs.reclaim(), 0u);
}

/// What is read between enter() and leave() is alive: each object says so until it dies.
TEST(Epochs, nobody_reads_what_has_been_freed) {
  struct Object {
    std::atomic<int> alive{1};
    ~Object() { alive.store(0, std::memory_order_relaxed); }
  };
  constexpr unsigned kWorkers = 3;
  Epochs epochs(kWorkers);
  auto held = std::make_shared<Object>();
  std::atomic<Object*> current{held.get()};
  std::atomic<bool> stop{false};
  std::atomic<int> dead{0};
  std::vector<std::jthread> workers;
  for (unsigned worker = 0; worker < kWorkers; ++worker) {
    workers.emplace_back([&, worker] {
      while (!stop.load(std::memory_order_relaxed)) {
        epochs.enter(worker);
        for (int i = 0; i < 8; ++i) {
          if (current.load(std::memory_order_acquire)->alive.load(std::memory_order_relaxed) != 1) ++dead;
        }
        epochs.leave(worker);
      }
    });
  }
  for (int i = 0; i < 20'000; ++i) {
    auto next = std::make_shared<Object>();
    current.store(next.get(), std::memory_order_release);
    held.swap(next);
    epochs.retire(std::move(next));
    epochs.reclaim();
  }
  stop = true;
  workers.clear();
  EXPECT_EQ(dead, 0);
  EXPECT_EQ(epochs.reclaim(), 0u);
}

}  // namespace
}  // namespace limpet::datapath
