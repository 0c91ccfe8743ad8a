// spinlock.h: a one-byte lock that spins briefly, then yields the processor (spin_wait.h).
//
// Meets Lockable; use with std::lock_guard and std::unique_lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include "conntrack/store/spin_wait.h"

namespace limpet::store {

class SpinLock {
 public:
  void lock() noexcept {
    lock_spinning([this] { return try_lock(); }, [this] { return held_.load(std::memory_order_relaxed); });
  }
  bool try_lock() noexcept { return !held_.exchange(true, std::memory_order_acquire); }
  void unlock() noexcept { held_.store(false, std::memory_order_release); }

  /// For recovery, where nobody else is: unlocked; was it locked? The byte may be damaged, so it is not read as a bool.
  bool reset() noexcept {
    std::uint8_t raw;
    static_assert(sizeof raw == sizeof *this);
    std::memcpy(&raw, static_cast<const void*>(this), sizeof raw);
    unlock();
    return raw != 0;
  }

 private:
  std::atomic<bool> held_{false};
};

}  // namespace limpet::store
