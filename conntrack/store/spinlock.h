// spinlock.h: a one-byte lock that spins briefly, then yields the processor.
//
// Critical sections here are tens of nanoseconds, but workers share few cores with the kernel: the holder may be
// preempted, and a waiter that only spun would burn the holder's time slice. So: test-and-test-and-set, 64 pauses, then
// sched_yield. Meets Lockable; use with std::lock_guard and std::unique_lock.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstring>

#include <sched.h>

namespace limpet::store {

class SpinLock {
 public:
  void lock() noexcept {
    for (unsigned spins = 0; !try_lock();) {
      while (held_.load(std::memory_order_relaxed)) {
        if (++spins % 64 == 0) {
          ::sched_yield();
        } else {
#if defined(__x86_64__) || defined(__i386__)
          __builtin_ia32_pause();
#endif
        }
      }
    }
  }
  bool try_lock() noexcept {
    return !held_.exchange(true, std::memory_order_acquire);
  }
  void unlock() noexcept {
    held_.store(false, std::memory_order_release);
  }

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
