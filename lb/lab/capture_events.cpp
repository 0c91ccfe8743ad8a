#include "lb/lab/capture_events.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "conntrack/net/packet.h"
#include "conntrack/store/siphash.h"
#include "lb/datapath/packet_facts.h"

namespace limpet::lab {
namespace {

using Kind = datapath::PacketFacts::Kind;

constexpr std::size_t kFileHeader = 24;
constexpr std::size_t kRecordHeader = 16;

std::uint8_t ttl_of(std::span<const std::byte> packet) {
  const bool v4 = std::to_integer<unsigned>(packet[0]) >> 4 == 4;
  return std::to_integer<std::uint8_t>(packet[v4 ? 8 : 7]);
}

/// SCTP: a common header of 12 bytes, then the INIT chunk: type, flags, length, initiate tag (RFC 9260, 3.3.2).
std::uint32_t opening_number(const net::PacketView& packet) {
  if (packet.is_tcp()) return packet.tcp_sequence;
  std::uint32_t tag = 0;
  const std::size_t at = packet.l4_offset + 16U;
  if (packet.bytes.size() >= at + sizeof tag) std::memcpy(&tag, packet.bytes.data() + at, sizeof tag);
  return tag;
}

}  // namespace

std::size_t CaptureEvents::TupleHash::operator()(const net::Tuple& tuple) const noexcept {
  const auto source = tuple.source.address.words();
  const auto destination = tuple.destination.address.words();
  const std::uint64_t rest = std::uint64_t{tuple.source.port} << 32 | std::uint64_t{tuple.destination.port} << 16 |
                             static_cast<std::uint64_t>(tuple.protocol);
  return store::siphash13({}, std::array{source[0], source[1], destination[0], destination[1], rest});
}

CaptureEvents::CaptureEvents(std::string path, CaptureFile capture, const flow::Timeouts& timeouts)
    : path_(std::move(path)), capture_(std::move(capture)), udp_(timeouts.udp), udp_stream_(timeouts.udp_stream) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path_, error);
  size_ = error ? 0 : size;
  read_ = kFileHeader;
}

store::Result<bool> CaptureEvents::next(Event& event) {
  for (;;) {
    const auto captured = capture_.next();
    if (!captured) return captured.error();
    if (!*captured) {
      read_ = size_;
      return false;
    }
    const CapturedPacket& packet = **captured;
    now_ = std::max(now_, packet.time);
    bytes_.assign(packet.bytes.begin(), packet.bytes.end());
    read_ += bytes_.size() + kRecordHeader;
    if (!begins(bytes_, now_, event.tuple)) continue;
    event.number = packet.number;
    event.time = now_;
    event.in_interface.clear();
    event.ttl = ttl_of(packet.bytes);
    return true;
  }
}

bool CaptureEvents::begins(std::span<std::byte> packet, Time time, net::Tuple& tuple) {
  const datapath::PacketFacts facts = datapath::facts_of(packet);
  if (facts.kind != Kind::transport && facts.kind != Kind::first_fragment) return false;
  tuple = facts.tuple;
  if (!net::is_connection_oriented(tuple.protocol)) return opens_talk(tuple, time);
  net::PacketView view;
  if (net::parse(packet, view, net::Extent::headers) != net::ParseError::none) return false;
  if (!net::opens_connection(view)) return false;
  const std::uint32_t number = opening_number(view);
  const auto [known, is_new] = opened_.try_emplace(tuple, number);
  if (!is_new && known->second == number) return false;
  known->second = number;
  return true;
}

bool CaptureEvents::opens_talk(const net::Tuple& tuple, Time time) {
  const net::Tuple key = tuple.source < tuple.destination ? tuple : tuple.reversed();
  const Talk fresh{time, false, tuple.source};
  const auto [known, is_new] = talks_.try_emplace(key, fresh);
  Talk& talk = known->second;
  if (is_new) return true;
  if (time - talk.last > (talk.answered ? udp_stream_ : udp_)) {
    talk = fresh;
    return true;
  }
  talk.last = time;
  talk.answered = talk.answered || tuple.source != talk.client;
  return false;
}

std::string CaptureEvents::place(const Event& event) const {
  return path_ + ", packet " + std::to_string(event.number);
}

double CaptureEvents::progress() const {
  return size_ == 0 ? 1 : std::min(1.0, static_cast<double>(read_) / static_cast<double>(size_));
}

}  // namespace limpet::lab
