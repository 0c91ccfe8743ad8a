// endpoint_slots.h: the identity and state of every endpoint of every service port, in one fixed array.
//
//   slots[slot]   one atomic word: id << 8 | state bits; an EndpointId is in force only while slot and id agree with it
//
//   ready      may be given new connections
//   serving    may keep the connections that it has (an endpoint that drains is serving, not ready)
//
// New states take effect in two steps, around the publication of the services that they belong to (balancer.h):
//
//   admit(changes)     what is new, or may more than before, is in force
//   ── publish ──      until here connections go to endpoints of the former services, from here on to those of the next
//   dismiss(changes)   what is gone, or may less than before, no longer is
//
// So a new endpoint is in force before it can be chosen, and one that leaves until it can be no longer. A decision that is
// under way meanwhile may still choose one that leaves, or one whose slot has been given on: its flow is left again with the
// next packet.
//
// One word more stands for no endpoint at all: a flow that was left alone as no service's is given nobody(), which is in
// force until the next publication. Then it is asked again whether the flow may stay as it is.
//
// Written by the control thread, read by workers: each check is one relaxed load. Capacity is fixed when built.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "conntrack/flow/endpoint_id.h"

namespace limpet::datapath {

using flow::EndpointId;

/// What an endpoint may from now on. `gone`: nothing, and its slot may have been given to another already.
struct StateChange {
  EndpointId endpoint;
  std::uint8_t state = 0;
  bool gone = false;
};

class EndpointSlots {
 public:
  enum State : std::uint8_t { ready = 1, serving = 2 };

  /// `first_nobody`: differs from one process to the next, as flows outlive them.
  explicit EndpointSlots(std::uint32_t capacity, std::uint32_t first_nobody = 1)
      : capacity_(capacity), words_(new std::atomic<std::uint64_t>[std::size_t{capacity} + 1]()) {
    set({capacity_, std::max(first_nobody, 1U)}, serving);
  }

  std::uint32_t capacity() const noexcept { return capacity_; }
  void set(EndpointId endpoint, std::uint8_t state) noexcept {
    words_[endpoint.slot].store(std::uint64_t{endpoint.id} << 8 | state, std::memory_order_relaxed);
  }
  bool is(EndpointId endpoint, State state) const noexcept {
    if (!endpoint || endpoint.slot > capacity_) return false;
    const std::uint64_t word = words_[endpoint.slot].load(std::memory_order_relaxed);
    return id_in(word) == endpoint.id && (word & state) != 0;
  }

  void admit(std::span<const StateChange> changes) noexcept {
    for (const StateChange& change : changes) {
      if (change.gone) continue;
      const std::uint64_t before = words_[change.endpoint.slot].load(std::memory_order_relaxed);
      const bool known = id_in(before) == change.endpoint.id;
      set(change.endpoint, static_cast<std::uint8_t>(change.state | (known ? before & 0xff : 0)));
    }
  }
  void dismiss(std::span<const StateChange> changes) noexcept {
    for (const StateChange& change : changes) {
      const std::uint64_t before = words_[change.endpoint.slot].load(std::memory_order_relaxed);
      if (!change.gone) {
        set(change.endpoint, change.state);
      } else if (id_in(before) == change.endpoint.id) {
        set({change.endpoint.slot, 0}, 0);
      }
    }
  }

  /// Who asks before a decision, and is given the renewed one, decides by what was published before it was renewed.
  EndpointId nobody() const noexcept { return {capacity_, id_in(words_[capacity_].load(std::memory_order_acquire))}; }
  void renew_nobody() noexcept {
    const std::uint32_t next = std::max(nobody().id + 1, 1U);
    words_[capacity_].store(std::uint64_t{next} << 8 | serving, std::memory_order_release);
  }

 private:
  static std::uint32_t id_in(std::uint64_t word) noexcept { return static_cast<std::uint32_t>(word >> 8); }

  std::uint32_t capacity_;
  std::unique_ptr<std::atomic<std::uint64_t>[]> words_;
};

}  // namespace limpet::datapath
