// lazy_array.h: room for a fixed number of plain objects, all of it allocated at once and none of it touched.
//
// A page of it becomes memory when it is first written to: so a table can have all that it may ever need from its start,
// and never asks for more, while one that stays small stays cheap. Objects of `zeroed` are all zero bytes; others hold
// whatever is there until they are written.
//
// Throws std::bad_alloc when it is made, never later. Threads: as an array.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <limits>
#include <memory>
#include <new>
#include <type_traits>

namespace limpet::affinity {

template <typename T>
class LazyArray {
  static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
  static_assert(alignof(T) <= alignof(std::max_align_t));

 public:
  LazyArray() noexcept = default;
  explicit LazyArray(std::size_t size) : LazyArray(size <= kMost ? std::malloc(bytes(size)) : nullptr) {}
  static LazyArray zeroed(std::size_t size) { return LazyArray(std::calloc(size != 0 ? size : 1, sizeof(T))); }

  T& operator[](std::size_t i) noexcept { return objects_.get()[i]; }
  const T& operator[](std::size_t i) const noexcept { return objects_.get()[i]; }

 private:
  struct Free {
    void operator()(T* objects) const noexcept { std::free(objects); }
  };
  static constexpr std::size_t kMost = std::numeric_limits<std::ptrdiff_t>::max() / sizeof(T);
  static constexpr std::size_t bytes(std::size_t size) noexcept { return (size != 0 ? size : 1) * sizeof(T); }

  explicit LazyArray(void* memory) : objects_(static_cast<T*>(memory)) {
    if (memory == nullptr) throw std::bad_alloc();
  }

  std::unique_ptr<T, Free> objects_;
};

}  // namespace limpet::affinity
