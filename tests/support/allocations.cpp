#include "tests/support/allocations.h"

#include <cstddef>

namespace {

thread_local std::uint64_t asked = 0;

}  // namespace

#ifdef LIMPET_COUNT_ALLOCATIONS

// What these stand before, in glibc; its free() takes what they give.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t count, std::size_t size);
void* __libc_realloc(void* memory, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  ++asked;
  return __libc_malloc(size);
}
void* calloc(std::size_t count, std::size_t size) {
  ++asked;
  return __libc_calloc(count, size);
}
void* realloc(void* memory, std::size_t size) {
  ++asked;
  return __libc_realloc(memory, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  ++asked;
  return __libc_memalign(alignment, size);
}
}

#endif

namespace limpet::test {

std::uint64_t allocations() noexcept {
  return asked;
}

}  // namespace limpet::test
