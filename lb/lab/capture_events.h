// capture_events.h: the new connections of a capture, as a timeline.
//
//   TCP, SCTP       a SYN without ACK, an INIT; one that repeats the sequence number (initiate tag) that began the
//                   connection of its tuple is a retransmission, or the same packet seen at another place
//   UDP, UDP-Lite   a datagram of a tuple that was silent longer than the timeout (`udp`, or `udp_stream` if it was
//                   answered, as conntrack has it), in either direction
//
// Connections whose beginning is not in the capture, later fragments and other protocols are passed over. Times count
// from the capture's own zero (1970-01-01 UTC) and are held where they would go back. Interfaces are unknown.
// Memory: one entry a tuple.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "lb/lab/capture_file.h"
#include "lb/lab/timeline.h"

namespace limpet::lab {

class CaptureEvents final : public EventSource {
 public:
  CaptureEvents(std::string path, CaptureFile capture, const flow::Timeouts& timeouts);

  store::Result<bool> next(Event& event) override;
  std::string place(const Event& event) const override;
  double progress() const override;

 private:
  using Time = std::chrono::microseconds;
  struct Talk {
    Time last;
    bool answered;
    net::AddressPort client;
  };
  struct TupleHash {
    std::size_t operator()(const net::Tuple& tuple) const noexcept;
  };

  bool begins(std::span<std::byte> packet, Time time, net::Tuple& tuple);
  bool opens_talk(const net::Tuple& tuple, Time time);

  std::string path_;
  CaptureFile capture_;
  Time udp_, udp_stream_;
  std::vector<std::byte> bytes_;
  Time now_{};
  std::uint64_t size_ = 0;                                           // bytes of the file
  std::uint64_t read_ = 0;                                           // about
  std::unordered_map<net::Tuple, std::uint32_t, TupleHash> opened_;  // by which sequence number or tag
  std::unordered_map<net::Tuple, Talk, TupleHash> talks_;            // the lesser address first
};

}  // namespace limpet::lab
