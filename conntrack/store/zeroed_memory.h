// zeroed_memory.h: a large array of zero bytes from the kernel, on huge pages where it gives them.
//
// Tables are probed at random: with 4 KiB pages every probe misses the TLB as well as the cache (in a virtual machine the
// page walk costs more than the miss itself). So: anonymous memory, aligned to 2 MiB, MADV_HUGEPAGE. Pages are
// touched, and counted as the process's, when first written. Throws std::bad_alloc at start; never grows.
#pragma once

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
