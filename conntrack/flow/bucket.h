// bucket.h: the head of one chain of the flow table's index, and its lock, in one 32-bit word.
//
//   [ locked | link id ]      31 bits of link id: 1 + record * 3 + role, 0: the chain is empty
//
// The lock lies where the data is, so a probe touches one cache line for both, and two workers meet only at the same bucket.
// Waiting is spin-then-yield (spinlock.h says why). All-zero memory is an array of empty buckets.
#pragma once

#include <atomic>
#include <cstdint>

#include <sched.h>

namespace limpet::flow {

class Bucket {
 public:
  static constexpr std::uint32_t kMostLinks = (std::uint32_t{1} << 31) - 1;

  /// The chain's head as it is now, perhaps only for a moment. What was stored before it was linked is seen.
  std::uint32_t peek() const noexcept { return word_.load(std::memory_order_acquire) & ~kLocked; }

  /// For recovery, where nobody else is. Empty and unlocked; was it locked?
  bool reset() noexcept {
    const bool was_locked = (word_.load(std::memory_order_relaxed) & kLocked) != 0;
    word_.store(0, std::memory_order_relaxed);
    return was_locked;
  }
  /// For recovery: a new head. Returns the old one, which is to follow it.
  std::uint32_t push(std::uint32_t id) noexcept {
    const std::uint32_t old = word_.load(std::memory_order_relaxed);
    word_.store(id, std::memory_order_relaxed);
    return old;
  }

  /// Holds the lock; head() may be changed; unlocks with what it is then.
  class Guard {
   public:
    explicit Guard(Bucket& bucket) noexcept : bucket_(bucket), head_(bucket.lock()) {}
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;
    ~Guard() { bucket_.word_.store(head_, std::memory_order_release); }
    std::uint32_t& head() noexcept { return head_; }

   private:
    Bucket& bucket_;
    std::uint32_t head_;
  };

 private:
  static constexpr std::uint32_t kLocked = std::uint32_t{1} << 31;

  std::uint32_t lock() noexcept {
    for (unsigned spins = 1;; ++spins) {
      std::uint32_t word = word_.load(std::memory_order_relaxed);
      if ((word & kLocked) == 0 &&
          word_.compare_exchange_weak(word, word | kLocked, std::memory_order_acquire, std::memory_order_relaxed)) {
        return word;
      }
      if (spins % 64 == 0) ::sched_yield();
    }
  }

  std::atomic<std::uint32_t> word_{0};
};

}  // namespace limpet::flow
