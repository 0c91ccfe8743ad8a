// doctor_queue.h: a queue of one packet at a time, for finding out whether NFQUEUE works. Not for traffic: lb/queue is.
//
// Plain libmnl, everything acknowledged. Waits are bounded. Source: Linux net/netfilter/nfnetlink_queue.c.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lb/divert/doctor_check.h"
#include "lb/divert/doctor_descriptor.h"

namespace limpet::divert {

class ProbeQueue {
 public:
  /// A packet that the kernel holds.
  struct Held {
    std::uint32_t id = 0;
    std::uint8_t hook = 0;  // NF_INET_*
    std::uint32_t mark = 0;
    bool checksum_ready = true;
    std::vector<std::byte> bytes{};
  };

  /// Bind queue `number` with these NFQA_CFG_F_*. On failure valid() is false and error() the errno.
  ProbeQueue(std::uint16_t number, std::uint32_t flags);

  bool valid() const noexcept { return error_ == 0; }
  int error() const noexcept { return error_; }
  std::optional<Held> next(std::chrono::milliseconds limit);
  /// Let it go on, as it stands in `bytes`, with this mark.
  void accept(const Held& packet);

 private:
  int configure(std::uint32_t flags);
  int bind();
  int copy_packets();

  Descriptor socket_;
  std::uint16_t number_;
  int error_ = 0;
};

/// Can a queue be bound?
Observation probe_bind();
/// Does the kernel accept these flags (NFQA_CFG_F_*) for a queue?
Observation probe_queue_flags(std::uint32_t flags);

}  // namespace limpet::divert
