// endpoint_slots.h: the identity and state of every endpoint of every service port, in one fixed array.
//
//   slots[slot]   one atomic word: id << 8 | state bits; an EndpointId is in force only while slot and id agree with it
//
//   ready      may be given new connections
//   serving    may keep the connections that it has (an endpoint that drains is serving, not ready)
//
// Written by the control thread, read by workers: each check is one relaxed load. Capacity is fixed when built.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "conntrack/flow/endpoint_id.h"

namespace limpet::datapath {

using flow::EndpointId;

class EndpointSlots {
 public:
  enum State : std::uint8_t { ready = 1, serving = 2 };

  explicit EndpointSlots(std::uint32_t capacity)
      : capacity_(capacity), words_(new std::atomic<std::uint64_t>[capacity]()) {}

  std::uint32_t capacity() const noexcept { return capacity_; }
  void set(EndpointId endpoint, std::uint8_t state) noexcept {
    words_[endpoint.slot].store(std::uint64_t{endpoint.id} << 8 | state, std::memory_order_relaxed);
  }
  bool is(EndpointId endpoint, State state) const noexcept {
    if (!endpoint || endpoint.slot >= capacity_) return false;
    const std::uint64_t word = words_[endpoint.slot].load(std::memory_order_relaxed);
    return word >> 8 == endpoint.id && (word & state) != 0;
  }

 private:
  std::uint32_t capacity_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> words_;
};

}  // namespace limpet::datapath
