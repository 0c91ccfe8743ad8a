// tcp_state.h: what limpet knows of a TCP connection that passes by.
//
//   none ── SYN ──▶ syn_sent ── SYN|ACK of the endpoint ──▶ syn_recv ── ACK of the client ──▶ established
//
//   established ── FIN ──▶ fin_wait ── ACK of the other side ──▶ close_wait ── its FIN ──▶ last_ack
//                             └───────────────── FIN of the other side ──────────────────────▶┘
//   last_ack ── ACK ──▶ time_wait
//
//   any state ── RST at the expected sequence ──▶ close
//
// Either side may close first. Retransmissions change nothing. States and names are nf_conntrack's
// (net/netfilter/nf_conntrack_proto_tcp.c). Windows are not tracked, and no packet is ever refused for its numbers; but a
// forged one must not close a flow, or make a later one believed. So:
//
//   any segment    counts only if its sequence lies within reach of what the other side has acknowledged, and its
//                  acknowledgement within reach of what the other side has sent (as far as these are known). The reach is
//                  the largest window that either side can announce, at least 8 MiB: then one blind guess in 65,536 does
//                  (fewer where a side's window scale is above 7, or where limpet has not seen the SYNs)
//   RST, syn_sent  the endpoint's must acknowledge the client's SYN and what it carries (RFC 9293 sections 3.10.7.1 and
//                  3.10.7.3); the client's must follow its SYN
//   RST, later     must stand where the receiver's last acknowledgement points (RFC 5961 section 3.2), or follow what
//                  its sender sent last (an abort with data under way, as nf_conntrack takes it); where neither is known
//                  yet, it is believed
//
// Value type; no clock.
#pragma once

#include <cstdint>
#include <string_view>

#include "conntrack/flow/direction.h"
#include "conntrack/flow/instant.h"
#include "conntrack/flow/timeouts.h"
#include "conntrack/net/packet.h"

namespace limpet::flow {

enum class TcpState : std::uint8_t {
  none,
  syn_sent,
  syn_recv,
  established,
  fin_wait,
  close_wait,
  last_ack,
  time_wait,
  close,
};
/// The kernel's word: "SYN_SENT", …
std::string_view to_string(TcpState state) noexcept;

class TcpTracker {
 public:
  TcpState state() const noexcept { return state_; }
  /// Account for one segment. Retransmissions are harmless.
  void see(const net::PacketView& packet, Direction direction) noexcept;
  /// Begin in the middle: the connection was there before limpet.
  void adopt() noexcept;

  /// A SYN now begins another connection on the same ports.
  bool over() const noexcept { return state_ == TcpState::time_wait || state_ == TcpState::close; }
  /// Does this segment of the client acknowledge the endpoint's SYN? Then the client is no forger.
  bool proves_client(const net::PacketView& packet) const noexcept {
    return endpoint_isn_known_ && packet.tcp_flags.ack() && packet.tcp_acknowledgement == endpoint_isn_ + 1;
  }
  /// Do its numbers lie within reach of this connection's, as far as those are known?
  bool is_plausible(const net::PacketView& packet, Direction direction) const noexcept;
  /// A SYN|ACK of the endpoint that answers no SYN of this flow: another connection uses the same pair directly.
  bool is_foreign(const net::PacketView& packet) const noexcept;
  Seconds timeout(const Timeouts& timeouts) const noexcept;
  /// Could this be a tracker? For memory that may be damaged (damage.h).
  bool is_whole() const noexcept;

 private:
  static constexpr std::uint8_t kMostScale = 14;  // RFC 7323 section 2.3

  /// What one direction's segments have said.
  struct Side {
    std::uint32_t next = 0;          // sequence after all that was sent
    std::uint32_t acknowledged = 0;  // where the other side's next byte is expected
  };

  Side& side(Direction direction) noexcept { return sides_[static_cast<unsigned>(direction)]; }
  const Side& side(Direction direction) const noexcept { return sides_[static_cast<unsigned>(direction)]; }
  /// A SYN that is no retransmission, where none has led to a connection yet: the client tries again on the same port.
  bool begins_anew(const net::PacketView& packet, Direction direction) const noexcept;
  /// Another SYN|ACK to the same SYN, with another ISN: an endpoint that keeps no state until it is acknowledged (SYN
  /// cookies) answers each retransmission as if it were the first.
  bool answers_anew(const net::PacketView& packet, Direction direction) const noexcept;
  void forget_answer(const net::PacketView& answer) noexcept;
  std::int64_t reach() const noexcept;
  bool is_near(std::uint32_t a, std::uint32_t b) const noexcept;
  bool believes_reset(const net::PacketView& packet, Direction direction) const noexcept;
  void see_numbers(const net::PacketView& packet, Direction direction) noexcept;
  void see_syn(const net::PacketView& packet, Direction direction) noexcept;
  void see_fin(Direction direction) noexcept;
  void see_ack(Direction direction) noexcept;

  Side sides_[2];
  std::uint32_t endpoint_isn_ = 0;
  Directions sent_;          // next is known
  Directions acknowledged_;  // acknowledged is known
  Directions fin_;
  bool endpoint_isn_known_ = false;
  std::uint8_t window_scale_ = 0;  // the larger of the two sides'
  TcpState state_ = TcpState::none;
};

}  // namespace limpet::flow
