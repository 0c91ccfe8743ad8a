// sctp_state.h: what limpet knows of an SCTP association that passes by.
//
//   none ── INIT ──▶ cookie_wait ── COOKIE ECHO ──▶ cookie_echoed ── COOKIE ACK ──▶ established
//
//   established ── SHUTDOWN of the client ───▶ shutdown_sent ─┐
//               ── SHUTDOWN of the endpoint ─▶ shutdown_recd ─┴─ SHUTDOWN ACK ─▶ shutdown_ack_sent
//   shutdown_ack_sent ── SHUTDOWN COMPLETE ──▶ closed
//   any state ── ABORT ──▶ closed
//   adopted ──▶ heartbeat_sent ── any packet of the endpoint ──▶ established
//
// States and names are nf_conntrack's (net/netfilter/nf_conntrack_proto_sctp.c). heartbeat_sent stands there for a
// HEARTBEAT on a path not seen before: here for whatever has begun in the middle.
//
// Each side chooses the tag that it wants to be addressed by, in its INIT or INIT ACK; every packet to it carries that tag
// (RFC 9260 section 8.5). Who does not know it changes no state: a blind guess succeeds once in 2^32.
//
//   offered   tags of a handshake under way, by direction of the packets that will carry them
//   agreed    the association's, from the COOKIE ECHO on
//
//   INIT               may be forged, so it offers and changes nothing else (sections 5.2.1, 5.2.2)
//   INIT ACK           must carry the tag that the INIT offered. A peer without state offers another tag at each
//                      retransmission, and any of them may be the one that is taken
//   COOKIE ECHO        agrees on the tag offered last. In a first handshake it may carry an earlier one: then that side's tag
//                      is not known before its next packet. Later on (the client has restarted: section 5.2.4, action A)
//                      only the tag offered last counts
//   ABORT,             its tag is that of the packet's direction or, with its T bit set, that of the other one
//   SHUTDOWN COMPLETE  (section 8.5.1 B and C)
//   any other          the agreed tag of its direction; where that is not known, the first one seen
//
// No packet is ever refused for its tag. Value type; no clock. Reads the packet's bytes for INIT, INIT ACK, ABORT and
// SHUTDOWN COMPLETE only.
#pragma once

#include <cstdint>
#include <string_view>

#include "conntrack/flow/direction.h"
#include "conntrack/flow/instant.h"
#include "conntrack/flow/timeouts.h"
#include "conntrack/net/packet.h"

namespace limpet::flow {

enum class SctpState : std::uint8_t {
  none,
  closed,
  cookie_wait,
  cookie_echoed,
  established,
  shutdown_sent,
  shutdown_recd,
  shutdown_ack_sent,
  heartbeat_sent,
};
/// The kernel's word: "COOKIE_WAIT", …
std::string_view to_string(SctpState state) noexcept;

class SctpTracker {
 public:
  SctpState state() const noexcept { return state_; }
  /// Account for one packet. Retransmissions are harmless.
  void see(const net::PacketView& packet, Direction direction) noexcept;
  /// Begin in the middle: the association was there before limpet.
  void adopt() noexcept { state_ = SctpState::heartbeat_sent; }

  /// An INIT now begins another association on the same ports.
  bool over() const noexcept { return state_ == SctpState::closed; }
  /// The endpoint has not answered the client's INIT yet.
  bool opening() const noexcept { return state_ == SctpState::cookie_wait && !answered_; }
  /// Not established yet, or no longer.
  bool half_open() const noexcept { return state_ <= SctpState::cookie_echoed || state_ == SctpState::heartbeat_sent; }
  /// Does this packet of the client show that it has received what the endpoint sent it? It carries a cookie, or takes one,
  /// under the tag that the endpoint has chosen; or the endpoint has taken its cookie.
  bool proves_client(const net::PacketView& packet) const noexcept;
  Seconds timeout(const Timeouts& timeouts) const noexcept;
  /// Could this be a tracker? For memory that may be damaged (damage.h).
  bool is_whole() const noexcept;

 private:
  /// A verification tag for each direction, as far as it is known. 0 is none: no side may choose it.
  struct Tags {
    std::uint32_t by_direction[2] = {};
    std::uint32_t& operator[](Direction direction) noexcept { return by_direction[static_cast<unsigned>(direction)]; }
    std::uint32_t operator[](Direction direction) const noexcept {
      return by_direction[static_cast<unsigned>(direction)];
    }
  };

  void see_init(const net::PacketView& packet, Direction direction) noexcept;
  void see_init_ack(const net::PacketView& packet, Direction direction) noexcept;
  void see_cookie_echo(const net::PacketView& packet, Direction direction) noexcept;
  void see_agreed(const net::PacketView& packet, Direction direction) noexcept;
  bool believes_end(const net::PacketView& packet, unsigned type, Direction direction) const noexcept;

  Tags offered_;
  Tags agreed_;
  bool answered_ = false;      // by an INIT ACK of the endpoint, or its own INIT
  bool cookie_taken_ = false;  // by the endpoint
  SctpState state_ = SctpState::none;
};

}  // namespace limpet::flow
