// table_memory.h: memory for a flow table that does not go with it. A copy is what a process that is killed at this moment
// leaves.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <span>

#include "conntrack/flow/flow_table.h"

namespace limpet::flow {

class TableMemory {
 public:
  explicit TableMemory(std::uint32_t capacity)
      : options_{.capacity = capacity, .key = {1, 2}, .timeouts = {}},
        size_(FlowTable::memory(capacity)),
        memory_(static_cast<std::byte*>(::operator new(size_, kAlignment))) {
    std::memset(memory_.get(), 0, size_);
  }
  TableMemory(const TableMemory& other) : TableMemory(other.options_.capacity) { copy(other.bytes()); }
  TableMemory& operator=(const TableMemory&) = delete;

  void copy(std::span<const std::byte> from) noexcept { std::memcpy(memory_.get(), from.data(), size_); }
  std::span<std::byte> bytes() const noexcept { return {memory_.get(), size_}; }
  const FlowTableOptions& options() const noexcept { return options_; }

 private:
  static constexpr std::align_val_t kAlignment{64};
  struct Free {
    void operator()(std::byte* memory) const noexcept { ::operator delete(memory, kAlignment); }
  };
  FlowTableOptions options_;
  std::size_t size_;
  std::unique_ptr<std::byte, Free> memory_;
};

}  // namespace limpet::flow
