// spin_wait.h: how a lock is waited for: spin briefly, then yield the processor.
//
// Critical sections here are tens of nanoseconds, but workers share few cores with the kernel: the holder may be
// preempted, and a waiter that only spun would burn the holder's time slice. So: test-and-test-and-set, 64 pauses, then
// sched_yield.
#pragma once

#include <sched.h>

namespace limpet::store {

/// Until `try_lock() -> bool` succeeds; it is tried again when `held() -> bool`, which only reads, says that it may.
template <typename TryLock, typename Held>
void lock_spinning(TryLock&& try_lock, Held&& held) noexcept {
  constexpr unsigned kPauses = 64;
  for (unsigned spins = 0; !try_lock();) {
    while (held()) {
      if (++spins % kPauses == 0) {
        ::sched_yield();
      } else {
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
      }
    }
  }
}

}  // namespace limpet::store
