// allocations.h: how often this thread asked for memory: malloc and its kin, and so operator new.
//
//   const AllocationCount before; …; EXPECT_EQ(before.since(), 0U);
//
// Only in programs that have allocations.cpp among their sources: it stands before malloc. Not under a sanitizer, which
// stands there itself: kAllocationsAreCounted says so, and such tests are skipped.
#pragma once

#include <cstdint>

#if defined(__has_feature)
#define LIMPET_HAS_FEATURE(x) __has_feature(x)
#else
#define LIMPET_HAS_FEATURE(x) 0
#endif

namespace limpet::test {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || LIMPET_HAS_FEATURE(address_sanitizer) || \
    LIMPET_HAS_FEATURE(thread_sanitizer) || LIMPET_HAS_FEATURE(memory_sanitizer)
inline constexpr bool kAllocationsAreCounted = false;
#else
#define LIMPET_COUNT_ALLOCATIONS 1
inline constexpr bool kAllocationsAreCounted = true;
#endif

/// Of this thread, since it began.
std::uint64_t allocations() noexcept;

class AllocationCount {
 public:
  AllocationCount() noexcept : before_(allocations()) {}
  std::uint64_t since() const noexcept { return allocations() - before_; }

 private:
  std::uint64_t before_;
};

}  // namespace limpet::test
