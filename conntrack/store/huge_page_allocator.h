// huge_page_allocator.h: a standard allocator whose large blocks lie on huge pages, for the arrays inside library containers.
//
// Blocks of 2 MiB and more are aligned to 2 MiB and advised MADV_HUGEPAGE (zeroed_memory.h says why); smaller ones, a map's
// nodes among them, come from `Small`, another standard allocator. Stateless.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

#include <sys/mman.h>

namespace limpet::store {

template <typename T, typename Small = std::allocator<T>>
class HugePageAllocator {
 public:
  using value_type = T;
  template <typename U>
  struct rebind {
    using other = HugePageAllocator<U, typename std::allocator_traits<Small>::template rebind_alloc<U>>;
  };

  HugePageAllocator() noexcept = default;
  template <typename U, typename OtherSmall>
  HugePageAllocator(const HugePageAllocator<U, OtherSmall>&) noexcept {}  // NOLINT: rebinding is implicit

  T* allocate(std::size_t count) {
    if (!is_large(count)) return Small().allocate(count);
    void* const block = ::operator new (count * sizeof(T), std::align_val_t{kHugePage});
    ::madvise(block, count * sizeof(T), MADV_HUGEPAGE);
    return static_cast<T*>(block);
  }
  void deallocate(T* block, std::size_t count) noexcept {
    if (!is_large(count)) return Small().deallocate(block, count);
    ::operator delete (block, std::align_val_t{kHugePage});
  }

  friend bool operator==(const HugePageAllocator&, const HugePageAllocator&) noexcept { return true; }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  static constexpr bool is_large(std::size_t count) noexcept { return count >= kHugePage / sizeof(T); }
};

}  // namespace limpet::store
