// lock_word.h: a lock that is one word of the memory that it guards.
//
//   0   free
//   1   held
//
// The word lies in a table's memory, which may be a file that outlives the process: a thread that is killed inside its
// critical section leaves the word held, and the next process can see what may be torn (flat_table.h). So it is plain
// memory, all zero at first, and only looked at through std::atomic_ref.
//
// Waiting: spin_wait.h. Meets Lockable. Any thread.
#pragma once

#include <atomic>
#include <cstdint>

#include "conntrack/store/spin_wait.h"

namespace limpet::store {

class LockWord {
 public:
  explicit LockWord(std::uint32_t& word) noexcept : word_(word) {}

  void lock() noexcept {
    lock_spinning([this] { return try_lock(); }, [this] { return held(); });
  }
  bool try_lock() noexcept { return word_.exchange(1, std::memory_order_acquire) == 0; }
  void unlock() noexcept { word_.store(0, std::memory_order_release); }
  bool held() const noexcept { return word_.load(std::memory_order_relaxed) != 0; }

 private:
  std::atomic_ref<std::uint32_t> word_;
};

}  // namespace limpet::store
