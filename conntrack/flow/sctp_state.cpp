#include "conntrack/flow/sctp_state.h"

#include <cstddef>
#include <optional>
#include <span>

#include "conntrack/flow/damage.h"
#include "conntrack/net/wire.h"

namespace limpet::flow {

namespace {

enum : unsigned { kInit = 1, kInitAck = 2, kAbort = 6, kShutdownComplete = 14 };

constexpr std::size_t kCommonHeader = 12;
constexpr std::size_t kChunkHeader = 4;
constexpr std::uint8_t kReflected = 0x01;  // the T bit of ABORT and SHUTDOWN COMPLETE

/// The first chunk of this type, from its header to the end of the packet. Empty where the chunks cannot be walked so far.
std::span<const std::byte> find_chunk(const net::PacketView& packet, unsigned type) noexcept {
  std::span<const std::byte> rest = packet.bytes;
  if (rest.size() < packet.l4_offset + kCommonHeader) return {};
  rest = rest.subspan(packet.l4_offset + kCommonHeader);
  while (rest.size() >= kChunkHeader) {
    if (net::load8(rest.data()) == type) return rest;
    const std::size_t length = net::load_be16(rest.data() + 2);
    const std::size_t padded = (length + 3) & ~std::size_t{3};
    if (length < kChunkHeader || padded > rest.size()) return {};
    rest = rest.subspan(padded);
  }
  return {};
}

/// The tag that an INIT or INIT ACK asks for; 0: none.
std::uint32_t initiate_tag(const net::PacketView& packet, unsigned type) noexcept {
  const std::span<const std::byte> chunk = find_chunk(packet, type);
  return chunk.size() < kChunkHeader + 4 ? 0 : net::load_be32(chunk.data() + kChunkHeader);
}

}  // namespace

std::string_view to_string(SctpState state) noexcept {
  constexpr std::string_view names[] = {"NONE",          "CLOSED",        "COOKIE_WAIT",   "COOKIE_ECHOED",
                                        "ESTABLISHED",   "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT",
                                        "HEARTBEAT_SENT"};
  return names[static_cast<unsigned>(state)];
}

void SctpTracker::see(const net::PacketView& packet, Direction direction) noexcept {
  const net::SctpChunks chunks = packet.sctp_chunks;
  if (over()) return;
  if (chunks.abort()) {
    if (believes_end(packet, kAbort, direction)) state_ = SctpState::closed;
  } else if (chunks.init()) {
    see_init(packet, direction);
  } else if (chunks.init_ack()) {
    see_init_ack(packet, direction);
  } else if (chunks.shutdown_complete()) {
    const bool ends = state_ == SctpState::shutdown_ack_sent && believes_end(packet, kShutdownComplete, direction);
    if (ends) state_ = SctpState::closed;
  } else {
    if (chunks.cookie_echo()) see_cookie_echo(packet, direction);
    see_agreed(packet, direction);
  }
}

void SctpTracker::see_init(const net::PacketView& packet, Direction direction) noexcept {
  const std::uint32_t tag = initiate_tag(packet, kInit);
  if (packet.sctp_tag != 0 || tag == 0) return;  // RFC 9260 section 8.5.1 A; section 3.3.2
  offered_[other(direction)] = tag;
  if (direction == Direction::reply) answered_ = true;  // section 5.2.1: both open at once
  if (state_ == SctpState::none) state_ = SctpState::cookie_wait;
}

void SctpTracker::see_init_ack(const net::PacketView& packet, Direction direction) noexcept {
  const std::uint32_t tag = initiate_tag(packet, kInitAck);
  if (tag == 0 || offered_[direction] == 0 || packet.sctp_tag != offered_[direction]) return;
  offered_[other(direction)] = tag;
  if (direction == Direction::reply) answered_ = true;
}

void SctpTracker::see_cookie_echo(const net::PacketView& packet, Direction direction) noexcept {
  if (!answered_ || packet.sctp_tag == 0) return;
  const bool first = state_ == SctpState::cookie_wait || state_ == SctpState::cookie_echoed;
  const bool offered = packet.sctp_tag == offered_[direction];
  if (!first && (!offered || packet.sctp_tag == agreed_[direction])) return;
  agreed_[direction] = offered ? packet.sctp_tag : 0;
  agreed_[other(direction)] = offered_[other(direction)];
  state_ = SctpState::cookie_echoed;
}

void SctpTracker::see_agreed(const net::PacketView& packet, Direction direction) noexcept {
  const net::SctpChunks chunks = packet.sctp_chunks;
  if (state_ == SctpState::heartbeat_sent && direction == Direction::reply) state_ = SctpState::established;
  if (state_ == SctpState::none || state_ == SctpState::cookie_wait) return;
  if (agreed_[direction] == 0 && state_ != SctpState::cookie_echoed) agreed_[direction] = packet.sctp_tag;
  if (packet.sctp_tag != agreed_[direction]) return;
  if (chunks.cookie_ack() && state_ == SctpState::cookie_echoed) {
    state_ = SctpState::established;
    cookie_taken_ = direction == Direction::reply;
  }
  if (chunks.shutdown() && state_ == SctpState::established) {
    state_ = direction == Direction::original ? SctpState::shutdown_sent : SctpState::shutdown_recd;
  }
  const bool shutting_down = state_ == SctpState::shutdown_sent || state_ == SctpState::shutdown_recd;
  if (chunks.shutdown_ack() && shutting_down) state_ = SctpState::shutdown_ack_sent;
}

bool SctpTracker::believes_end(const net::PacketView& packet, unsigned type, Direction direction) const noexcept {
  const std::span<const std::byte> chunk = find_chunk(packet, type);
  if (chunk.empty() || packet.sctp_tag == 0) return false;
  const bool reflected = (net::load8(chunk.data() + 1) & kReflected) != 0;
  const Tags& tags = state_ == SctpState::cookie_wait ? offered_ : agreed_;
  return packet.sctp_tag == tags[reflected ? other(direction) : direction];
}

bool SctpTracker::proves_client(const net::PacketView& packet) const noexcept {
  if (cookie_taken_) return true;
  const bool has_cookie = packet.sctp_chunks.cookie_echo() || packet.sctp_chunks.cookie_ack();
  return has_cookie && offered_[Direction::original] != 0 && packet.sctp_tag == offered_[Direction::original];
}

Seconds SctpTracker::timeout(const Timeouts& timeouts) const noexcept {
  switch (state_) {
    case SctpState::none:
    case SctpState::closed:
      return timeouts.sctp_closed;
    case SctpState::cookie_wait:
      return timeouts.sctp_cookie_wait;
    case SctpState::cookie_echoed:
      return timeouts.sctp_cookie_echoed;
    case SctpState::established:
      return timeouts.sctp_established;
    case SctpState::shutdown_sent:
      return timeouts.sctp_shutdown_sent;
    case SctpState::shutdown_recd:
      return timeouts.sctp_shutdown_recd;
    case SctpState::shutdown_ack_sent:
      return timeouts.sctp_shutdown_ack_sent;
    case SctpState::heartbeat_sent:
      return timeouts.sctp_heartbeat_sent;
  }
  return timeouts.sctp_closed;
}

bool SctpTracker::is_whole() const noexcept {
  return state_ <= SctpState::heartbeat_sent && are_bools(answered_, cookie_taken_);
}

}  // namespace limpet::flow
