// zeroed_memory.h: a large array of zero bytes from the kernel, on huge pages where it gives them.
//
// Tables are probed at random: with 4 KiB pages every probe misses the TLB as well as the cache (in a virtual machine the
// page walk costs more than the miss itself). So: anonymous memory, aligned to 2 MiB, MADV_HUGEPAGE; and it is all there
// from the start (MADV_POPULATE_WRITE, Linux 5.14): no page is cleared while a packet waits, and memory that the machine does
// not have is missed at once. Throws std::bad_alloc then; never grows.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <new>
#include <utility>

#include <sys/mman.h>

namespace limpet::store {

class ZeroedMemory {
 public:
  explicit ZeroedMemory(std::size_t bytes) : reserved_(bytes + kHugePage) {
    void* const memory =
        ::mmap(nullptr, reserved_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    start_ = static_cast<std::byte*>(memory);
    const std::size_t misaligned = reinterpret_cast<std::uintptr_t>(start_) % kHugePage;
    aligned_ = start_ + (misaligned == 0 ? 0 : kHugePage - misaligned);
    ::madvise(aligned_, bytes, MADV_HUGEPAGE);  // a kernel without huge pages refuses; small ones serve as well
    if (::madvise(aligned_, bytes, MADV_POPULATE_WRITE) != 0 && errno == ENOMEM) {
      ::munmap(start_, reserved_);
      throw std::bad_alloc();
    }
  }
  ZeroedMemory(const ZeroedMemory&) = delete;
  ZeroedMemory& operator=(const ZeroedMemory&) = delete;
  ~ZeroedMemory() { ::munmap(start_, reserved_); }

  /// Aligned to 2 MiB.
  std::byte* data() const noexcept { return aligned_; }

 private:
  static constexpr std::size_t kHugePage = std::size_t{2} << 20;
  std::size_t reserved_;
  std::byte* start_ = nullptr;
  std::byte* aligned_ = nullptr;
};

}  // namespace limpet::store
