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

/// What is read between enter() and leave() has not been freed: who frees an object says so in it, and keeps its memory.
/// No atomic variable: ThreadSanitizer sees whether the reading happens before the freeing.
TEST(Epochs, nobody_reads_what_has_been_freed) {
  struct Object {
    volatile bool freed = false;  // read eight times, not once
  };
  constexpr unsigned kWorkers = 3;
  constexpr std::size_t kObjects = 20'000;
  std::vector<Object> objects(kObjects);
  const auto hold = [&](std::size_t i) {
    return std::shared_ptr<Object>(&objects[i], [](Object* object) { object->freed = true; });
  };
  Epochs epochs(kWorkers);
  std::shared_ptr<Object> held = hold(0);
  std::atomic<Object*> current{held.get()};
  std::atomic<bool> stop{false};
  std::atomic<int> read_freed{0};
  std::vector<std::jthread> workers;
  for (unsigned worker = 0; worker < kWorkers; ++worker) {
    workers.emplace_back([&, worker] {
      while (!stop.load(std::memory_order_relaxed)) {
        epochs.enter(worker);
        const Object* const object = current.load(std::memory_order_seq_cst);
        for (int i = 0; i < 8; ++i) read_freed += object->freed ? 1 : 0;
        epochs.leave(worker);
      }
    });
  }
  for (std::size_t i = 1; i < kObjects; ++i) {
    std::shared_ptr<Object> next = hold(i);
    current.store(next.get(), std::memory_order_seq_cst);
    held.swap(next);
    epochs.retire(std::move(next));
    epochs.reclaim();
  }
  stop = true;
  workers.clear();
  EXPECT_EQ(read_freed, 0);
  EXPECT_EQ(epochs.reclaim(), 0u);
  EXPECT_TRUE(objects[kObjects - 2].freed) << "all but the last one published";
}

}  // namespace
}  // namespace limpet::datapath
