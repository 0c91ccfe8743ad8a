// trace_ring.h: what one worker has to tell one trace: a bounded queue from one thread to one other.
//
//   slots   [ . . r r r r . . ]      read_ ≤ written_ ≤ read_ + kCapacity, both ever growing; slot = count mod kCapacity
//                 ^read_  ^written_
//
// The worker writes a record, then publishes it by written_ (release); the reader takes it, then frees its slot by read_
// (release). Neither ever waits: where there is no room the record is lost, and counted. O(1), no allocation but at the
// start. Source: Lamport, "Proving the correctness of multiprocess programs" (1977), the one-reader one-writer buffer.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <type_traits>

namespace limpet::control {

template <typename T, std::size_t kCapacity>
class TraceRing {
  static_assert(std::is_trivially_copyable_v<T> && (kCapacity & (kCapacity - 1)) == 0);

 public:
  TraceRing() : slots_(new T[kCapacity]) {}

  /// The writer's thread; `fill` writes the record where it stays. False, and counted: there is no room, nothing was called.
  template <std::invocable<T&> Fill>
  bool push(Fill&& fill) noexcept {
    const std::uint64_t written = written_.load(std::memory_order_relaxed);
    if (written - read_.load(std::memory_order_acquire) == kCapacity) {
      lost_.store(lost_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      return false;
    }
    fill(slots_[written % kCapacity]);
    written_.store(written + 1, std::memory_order_release);
    return true;
  }
  bool push(const T& record) noexcept {
    return push([&record](T& slot) { slot = record; });
  }
  /// The reader's thread. False: there is none.
  bool pop(T& record) noexcept {
    const std::uint64_t read = read_.load(std::memory_order_relaxed);
    if (read == written_.load(std::memory_order_acquire)) return false;
    record = slots_[read % kCapacity];
    read_.store(read + 1, std::memory_order_release);
    return true;
  }
  /// Any thread.
  std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

 private:
  std::unique_ptr<T[]> slots_;
  alignas(64) std::atomic<std::uint64_t> written_{0};  // the writer's cache line
  std::atomic<std::uint64_t> lost_{0};
  alignas(64) std::atomic<std::uint64_t> read_{0};  // the reader's
};

}  // namespace limpet::control
