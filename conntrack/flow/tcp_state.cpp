#include "conntrack/flow/tcp_state.h"

#include <algorithm>
#include <cstdlib>

#include "conntrack/flow/damage.h"

namespace limpet::flow {

namespace {

/// Most bytes that a SYN may carry and a SYN|ACK may leave unacknowledged (RFC 7413, section 3).
constexpr std::uint32_t kMostSynData = 0xffff;

/// More than honest segments stray where no larger window can be announced: the largest receive buffer that Linux gives a
/// socket by itself is 6 MiB (tcp_rmem).
constexpr std::int64_t kLeastReach = std::int64_t{8} << 20;
constexpr std::int64_t kMostWindow = 0xffff;  // before it is scaled

/// RFC 9293 section 3.4: sequence numbers are compared modulo 2^32.
bool is_after(std::uint32_t a, std::uint32_t b) noexcept {
  return static_cast<std::int32_t>(a - b) > 0;
}

}  // namespace

std::string_view to_string(TcpState state) noexcept {
  constexpr std::string_view names[] = {"NONE",       "SYN_SENT", "SYN_RECV",  "ESTABLISHED", "FIN_WAIT",
                                        "CLOSE_WAIT", "LAST_ACK", "TIME_WAIT", "CLOSE"};
  return names[static_cast<unsigned>(state)];
}

void TcpTracker::see(const net::PacketView& packet, Direction direction) noexcept {
  const net::TcpFlags flags = packet.tcp_flags;
  if (flags.rst()) {
    if (believes_reset(packet, direction)) state_ = TcpState::close;
    return;
  }
  if (begins_anew(packet, direction)) *this = {};
  if (answers_anew(packet, direction)) return forget_answer(packet);
  if (!is_plausible(packet, direction)) return;
  see_numbers(packet, direction);
  // A FIN's own acknowledgement completes nothing: a second FIN that is sent again is still to be acknowledged.
  if (flags.syn()) {
    see_syn(packet, direction);
  } else if (flags.fin()) {
    see_fin(direction);
  } else if (flags.ack()) {
    see_ack(direction);
  }
}

bool TcpTracker::begins_anew(const net::PacketView& packet, Direction direction) const noexcept {
  if (direction != Direction::original || !packet.tcp_flags.syn() || packet.tcp_flags.ack()) return false;
  return state_ <= TcpState::syn_recv && sent_.has(direction) &&
         side(direction).next - (packet.tcp_sequence + 1) > kMostSynData;
}

bool TcpTracker::answers_anew(const net::PacketView& packet, Direction direction) const noexcept {
  return direction == Direction::reply && state_ == TcpState::syn_recv && packet.tcp_flags.syn() &&
         packet.tcp_sequence != endpoint_isn_ && !is_foreign(packet);
}

/// Which of its answers the client will take is open: the client's ACK will tell.
void TcpTracker::forget_answer(const net::PacketView& answer) noexcept {
  endpoint_isn_ = answer.tcp_sequence;
  sent_.remove(Direction::reply);
}

bool TcpTracker::is_foreign(const net::PacketView& packet) const noexcept {
  if (!packet.tcp_flags.syn() || !packet.tcp_flags.ack()) return false;
  if (state_ == TcpState::syn_sent || state_ == TcpState::syn_recv) {
    return side(Direction::original).next - packet.tcp_acknowledgement > kMostSynData;
  }
  return !endpoint_isn_known_ || packet.tcp_sequence != endpoint_isn_;
}

std::int64_t TcpTracker::reach() const noexcept {
  return std::max(kLeastReach, kMostWindow << window_scale_);
}

bool TcpTracker::is_near(std::uint32_t a, std::uint32_t b) const noexcept {
  return std::abs(std::int64_t{static_cast<std::int32_t>(a - b)}) <= reach();
}

bool TcpTracker::is_plausible(const net::PacketView& packet, Direction direction) const noexcept {
  const Direction peer = other(direction);
  if (acknowledged_.has(peer) && !is_near(packet.tcp_sequence, side(peer).acknowledged)) return false;
  return !packet.tcp_flags.ack() || !sent_.has(peer) || is_near(packet.tcp_acknowledgement, side(peer).next);
}

bool TcpTracker::believes_reset(const net::PacketView& packet, Direction direction) const noexcept {
  if (state_ == TcpState::syn_sent && direction == Direction::reply) {
    return packet.tcp_flags.ack() && packet.tcp_acknowledgement == side(Direction::original).next;
  }
  if (sent_.has(direction) && packet.tcp_sequence == side(direction).next) return true;
  if (acknowledged_.has(other(direction))) return packet.tcp_sequence == side(other(direction)).acknowledged;
  return !sent_.has(direction);
}

void TcpTracker::see_numbers(const net::PacketView& packet, Direction direction) noexcept {
  const net::TcpFlags flags = packet.tcp_flags;
  Side& sender = side(direction);
  const std::uint32_t end = packet.tcp_sequence + packet.tcp_payload + flags.syn() + flags.fin();
  if (!sent_.has(direction) || is_after(end, sender.next)) sender.next = end;
  sent_.add(direction);
  if (!flags.ack()) return;
  sender.acknowledged = packet.tcp_acknowledgement;
  acknowledged_.add(direction);
}

void TcpTracker::adopt() noexcept {
  state_ = TcpState::established;
  window_scale_ = kMostScale;
}

void TcpTracker::see_syn(const net::PacketView& packet, Direction direction) noexcept {
  window_scale_ = std::max(window_scale_, static_cast<std::uint8_t>(net::tcp_window_scale(packet)));
  if (!packet.tcp_flags.ack()) {
    if (direction == Direction::original && state_ == TcpState::none) state_ = TcpState::syn_sent;
  } else if (direction == Direction::reply && state_ == TcpState::syn_sent) {
    endpoint_isn_ = packet.tcp_sequence;
    endpoint_isn_known_ = true;
    state_ = TcpState::syn_recv;
  }
}

void TcpTracker::see_ack(Direction direction) noexcept {
  switch (state_) {
    case TcpState::syn_recv:
      if (direction == Direction::original) state_ = TcpState::established;
      break;
    case TcpState::fin_wait:
      if (fin_.has(other(direction))) state_ = TcpState::close_wait;
      break;
    case TcpState::last_ack:
      state_ = TcpState::time_wait;
      break;
    default:
      break;
  }
}

void TcpTracker::see_fin(Direction direction) noexcept {
  if (over() || state_ == TcpState::syn_sent) return;
  fin_.add(direction);
  if (fin_.has(other(direction))) {
    if (state_ != TcpState::time_wait) state_ = TcpState::last_ack;
  } else if (state_ == TcpState::syn_recv || state_ == TcpState::established) {
    state_ = TcpState::fin_wait;
  }
}

Seconds TcpTracker::timeout(const Timeouts& timeouts) const noexcept {
  switch (state_) {
    case TcpState::none:
    case TcpState::syn_sent:
      return timeouts.tcp_syn_sent;
    case TcpState::syn_recv:
      return timeouts.tcp_syn_recv;
    case TcpState::established:
      return timeouts.tcp_established;
    case TcpState::fin_wait:
      return timeouts.tcp_fin_wait;
    case TcpState::close_wait:
      return timeouts.tcp_close_wait;
    case TcpState::last_ack:
      return timeouts.tcp_last_ack;
    case TcpState::time_wait:
      return timeouts.tcp_time_wait;
    case TcpState::close:
      return timeouts.tcp_close;
  }
  return timeouts.tcp_close;
}

bool TcpTracker::is_whole() const noexcept {
  return state_ <= TcpState::close && are_bools(endpoint_isn_known_);
}

}  // namespace limpet::flow
