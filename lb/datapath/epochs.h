// epochs.h: when may the control thread free what workers have been reading? Quiescent-state reclamation.
//
//   worker     enter() ── reads what is published, by atomic loads ── leave()              once a batch
//   control    publish the new ── retire(the old) ── reclaim(), now and then: frees what no worker can still see
//
// Each worker announces the epoch in which it began its batch, 0 between batches: one that waits for packets holds nothing
// up. retire() begins a new epoch; what was retired is free when every worker is between batches or has begun a later one.
//
// Why it holds: the publisher stores the pointer, then looks at the announcements; a worker announces, then loads the
// pointer. All four are sequentially consistent, so in their one order either the publisher's look comes after the
// announcement, or the worker's load after the new pointer. (McKenney and Walpole's quiescent-state-based reclamation;
// Fraser's epochs.) No fences: ThreadSanitizer does not know them, and so can prove this.
//
// A worker's cost is two stores a batch, one of them a full barrier, on a cache line of its own. What is retired dies on
// the control thread, never on a worker.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace limpet::datapath {

class Epochs {
 public:
  explicit Epochs(unsigned workers) : workers_(workers) {}

  void enter(unsigned worker) noexcept {
    workers_[worker].epoch.store(now_.load(std::memory_order_acquire), std::memory_order_seq_cst);
  }
  void leave(unsigned worker) noexcept { workers_[worker].epoch.store(0, std::memory_order_release); }

  /// Nobody who enters from here on can reach `object`: what leads workers past it was published by a sequentially
  /// consistent store, and is loaded by such loads. Control thread.
  void retire(std::shared_ptr<const void> object) {
    const std::uint64_t epoch = now_.load(std::memory_order_relaxed) + 1;
    now_.store(epoch, std::memory_order_release);
    retired_.emplace_back(epoch, std::move(object));
  }
  /// Returns how many are still waiting. Control thread.
  std::size_t reclaim() {
    std::uint64_t oldest = ~std::uint64_t{0};
    for (const Worker& worker : workers_) {
      const std::uint64_t epoch = worker.epoch.load(std::memory_order_seq_cst);
      if (epoch != 0 && epoch < oldest) oldest = epoch;
    }
    std::erase_if(retired_, [&](const auto& each) { return each.first <= oldest; });
    return retired_.size();
  }

 private:
  struct alignas(64) Worker {
    std::atomic<std::uint64_t> epoch{0};
  };

  std::vector<Worker> workers_;
  std::atomic<std::uint64_t> now_{1};
  std::vector<std::pair<std::uint64_t, std::shared_ptr<const void>>> retired_;  // with the epoch that began then
};

}  // namespace limpet::datapath
