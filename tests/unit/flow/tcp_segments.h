// tcp_segments.h: TCP connections as lists of segments. The initial sequence numbers: the client's 1000, the endpoint's
// 5000.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "conntrack/flow/tcp_state.h"
#include "conntrack/net/packet.h"

namespace limpet::flow {

inline constexpr Direction client = Direction::original;
inline constexpr Direction server = Direction::reply;

inline net::PacketView segment(std::string_view flags, std::uint32_t sequence, std::uint32_t acknowledgement = 0,
                               std::uint32_t payload = 0) {
  net::PacketView view;
  view.tuple.protocol = net::Protocol::tcp;
  for (const char letter : flags) {  // bits of RFC 9293, section 3.1
    const std::string_view letters = "FSRPA";
    view.tcp_flags.bits = static_cast<std::uint8_t>(view.tcp_flags.bits | 1u << letters.find(letter));
  }
  view.tcp_sequence = sequence;
  view.tcp_acknowledgement = acknowledgement;
  view.tcp_payload = payload;
  return view;
}

struct Step {
  Direction from;
  std::string_view flags;
  std::uint32_t sequence;
  std::uint32_t acknowledgement;
  std::string_view state;  // afterwards
  std::uint32_t payload = 0;
};

inline std::vector<Step> opened(std::vector<Step> then) {
  std::vector<Step> steps{
      {client, "S", 1000, 0, "SYN_SENT"},
      {server, "SA", 5000, 1001, "SYN_RECV"},
      {client, "A", 1001, 5001, "ESTABLISHED"},
  };
  steps.insert(steps.end(), then.begin(), then.end());
  return steps;
}

inline TcpTracker after(const std::vector<Step>& steps) {
  TcpTracker tracker;
  for (const Step& step : steps) {
    tracker.see(segment(step.flags, step.sequence, step.acknowledgement, step.payload), step.from);
  }
  return tracker;
}

}  // namespace limpet::flow
