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
// (net/netfilter/nf_conntrack_proto_tcp.c). Windows are not tracked: a packet is never refused for its
// sequence number, only a RST is not believed, so that a blind attacker cannot close a flow:
//
//   in syn_sent    the endpoint's RST must acknowledge the client's SYN and what it carries (RFC 9293 sections
//                  3.10.7.1 and 3.10.7.3); the client's must follow its SYN
//   later          it must stand where the receiver's last acknowledgement points (RFC 5961 section 3.2);
//                  where the receiver has acknowledged nothing yet, it is believed
//
// Value type; no clock.
#pragma once

#include <cstdint>
#include <string_view>

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

enum class Direction : std::uint8_t { original, reply };

class TcpTracker {
 public:
  TcpState state() const noexcept { return state_; }
  /// Account for one segment. Retransmissions are harmless.
  void see(const net::PacketView& packet, Direction direction) noexcept;
  /// Begin in the middle: the connection was there before limpet.
  void adopt() noexcept { state_ = TcpState::established; }

  /// A SYN now begins another connection on the same ports.
  bool over() const noexcept { return state_ == TcpState::time_wait || state_ == TcpState::close; }
  /// Does this segment of the client acknowledge the endpoint's SYN? Then the client is no forger.
  bool proves_client(const net::PacketView& packet) const noexcept {
    return endpoint_isn_known_ && packet.tcp_flags.ack() && packet.tcp_acknowledgement == endpoint_isn_ + 1;
  }
  /// A SYN|ACK of the endpoint that answers no SYN of this flow: another connection uses the same pair directly.
  bool is_foreign(const net::PacketView& packet) const noexcept {
    if (!packet.tcp_flags.syn() || !packet.tcp_flags.ack() || state_ == TcpState::syn_sent) return false;
    return !endpoint_isn_known_ || packet.tcp_sequence != endpoint_isn_;
  }
  Seconds timeout(const Timeouts& timeouts) const noexcept;

 private:
  struct Side {
    std::uint32_t acknowledged = 0;  // by this side: where the other's next byte is expected; in syn_sent the
                                     // endpoint's: what would acknowledge the SYN and the data in it
    bool has_acknowledged = false;
    bool fin = false;
  };
  bool believes_reset(const net::PacketView& packet, Direction direction) const noexcept;
  void see_syn(const net::PacketView& packet, Direction direction) noexcept;
  void see_fin(Direction direction) noexcept;
  void see_ack(Direction direction) noexcept;

  Side sides_[2];
  std::uint32_t endpoint_isn_ = 0;
  bool endpoint_isn_known_ = false;
  TcpState state_ = TcpState::none;
};

}  // namespace limpet::flow
