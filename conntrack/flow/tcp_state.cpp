#include "conntrack/flow/tcp_state.h"

namespace limpet::flow {

namespace {

unsigned index(Direction direction) noexcept {
  return static_cast<unsigned>(direction);
}
unsigned other(Direction direction) noexcept {
  return 1 - index(direction);
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
  if (flags.ack()) {
    sides_[index(direction)].acknowledged = packet.tcp_acknowledgement;
    sides_[index(direction)].has_acknowledged = true;
  }
  if (flags.syn()) {
    if (!flags.ack()) {
      see_syn(packet, direction);
    } else if (direction == Direction::reply && state_ == TcpState::syn_sent) {
      endpoint_isn_ = packet.tcp_sequence;
      endpoint_isn_known_ = true;
      state_ = TcpState::syn_recv;
    }
    return;
  }
  // A FIN's own acknowledgement completes nothing: a second FIN that is sent again is still to be acknowledged.
  if (flags.fin()) {
    see_fin(direction);
  } else if (flags.ack()) {
    see_ack(direction);
  }
}

void TcpTracker::see_syn(const net::PacketView& packet, Direction direction) noexcept {
  if (direction != Direction::original || state_ > TcpState::syn_sent) return;
  sides_[other(direction)].acknowledged = packet.tcp_sequence + 1 + packet.tcp_payload;
  state_ = TcpState::syn_sent;
}

bool TcpTracker::believes_reset(const net::PacketView& packet, Direction direction) const noexcept {
  const Side& receiver = sides_[other(direction)];
  if (state_ == TcpState::syn_sent && direction == Direction::reply) {
    return packet.tcp_flags.ack() && packet.tcp_acknowledgement == sides_[index(direction)].acknowledged;
  }
  if (state_ == TcpState::syn_sent) return packet.tcp_sequence == receiver.acknowledged;
  return !receiver.has_acknowledged || packet.tcp_sequence == receiver.acknowledged;
}

void TcpTracker::see_ack(Direction direction) noexcept {
  switch (state_) {
    case TcpState::syn_recv:
      if (direction == Direction::original) state_ = TcpState::established;
      break;
    case TcpState::fin_wait:
      if (sides_[other(direction)].fin) state_ = TcpState::close_wait;
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
  sides_[index(direction)].fin = true;
  if (sides_[other(direction)].fin) {
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

}  // namespace limpet::flow
