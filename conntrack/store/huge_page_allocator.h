// huge_page_allocator.h: a standard allocator whose large blocks lie on huge pages, for the arrays inside library containers.
//
// Blocks of 2 MiB and more are aligned to 2 MiB and advised MADV_HUGEPAGE (zeroed_memory.h says why); smaller ones, a map's
// nodes among them, come from the ordinary heap. Stateless.
#pragma once

#include <cstddef>
#include <new>

#include <sys/mman.h>

namespace limpet::store {

template <typename T>
class HugePageAllocator {
 public:
  using value_type = T;

  HugePageAllocator() noexcept = default;
  template <typename U>
  HugePageAllocator(const HugePageAllocator<U>&) noexcept {}  // NOLINT: rebinding is implicit

  T* allocate(std::size_t count) {
    void* const block = ::operator new(count * sizeof(T), alignment(count));
    if (is_large(count)) ::madvise(block, count * sizeof(T), MADV_HUGEPAGE);
    return static_cast<T*>(block);
  }
  void deallocate(T* block, std::size_t count) noexcept { ::operator delete(block, alignment(count)); }

  friend bool operator==(const HugePageAllocator&, const HugePageAllocator&) noexcept { return true; }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  static constexpr bool is_large(std::size_t count) noexcept { return count >= kHugePage / sizeof(T); }
  static constexpr std::align_val_t alignment(std::size_t count) noexcept {
    return std::align_val_t{is_large(count) ? kHugePage : alignof(T)};
  }
};

}  // namespace limpet::store
