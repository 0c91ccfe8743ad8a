// recent_memory.h: how much memory the `recent` lists of one RecentLists may have together.
//
// A list of fixed capacity takes its share when it is made, an unlimited one a piece now and then (recent_table.h). What
// does not fit is refused to whoever asks; nothing is allocated here. Threads: any; one compare-and-swap.
#pragma once

#include <atomic>
#include <cstdint>

namespace limpet::affinity {

class RecentMemory {
 public:
  explicit RecentMemory(std::uint64_t limit) noexcept : limit_(limit) {}
  RecentMemory(const RecentMemory&) = delete;
  RecentMemory& operator=(const RecentMemory&) = delete;

  /// False: so much is not left.
  bool take(std::uint64_t bytes) noexcept {
    std::uint64_t used = used_.load(std::memory_order_relaxed);
    do {
      if (bytes > limit_ - used) return false;
    } while (!used_.compare_exchange_weak(used, used + bytes, std::memory_order_relaxed));
    return true;
  }
  void give(std::uint64_t bytes) noexcept { used_.fetch_sub(bytes, std::memory_order_relaxed); }

  std::uint64_t limit() const noexcept { return limit_; }
  std::uint64_t used() const noexcept { return used_.load(std::memory_order_relaxed); }

 private:
  const std::uint64_t limit_;
  std::atomic<std::uint64_t> used_{0};  // at most limit_
};

}  // namespace limpet::affinity
