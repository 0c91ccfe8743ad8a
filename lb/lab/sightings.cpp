#include "lb/lab/sightings.h"

#include <algorithm>

#include "conntrack/net/fragment.h"
#include "conntrack/net/icmp.h"
#include "conntrack/net/packet.h"

namespace limpet::lab {
namespace {

using Kind = PacketFacts::Kind;

void append(std::string& text, std::span<const std::byte> bytes) {
  text.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

bool is_v4(std::span<const std::byte> packet) {
  return std::to_integer<unsigned>(packet[0]) >> 4 == 4;
}

unsigned ttl_of(std::span<const std::byte> packet) {
  return std::to_integer<unsigned>(packet[is_v4(packet) ? 8 : 7]);
}

/// Length, identification and fragment offset of an IPv4 header; the length of an IPv6 one.
void append_ip(std::string& text, std::span<const std::byte> packet) {
  append(text, packet.subspan(is_v4(packet) ? 2 : 4, is_v4(packet) ? 6 : 2));
}

/// The transport header without ports and checksum, and what follows.
void append_transport(std::string& text, const net::PacketView& view) {
  const std::span<const std::byte> transport = std::span<const std::byte>(view.bytes).subspan(view.l4_offset);
  std::size_t checksum_at = 6, checksum_size = 2;
  if (view.is_tcp()) checksum_at = 16;
  if (view.tuple.protocol == net::Protocol::sctp) checksum_at = 8, checksum_size = 4;
  append(text, transport.subspan(4, checksum_at - 4));
  append(text, transport.subspan(checksum_at + checksum_size));
}

/// What neither routing nor translation changes.
std::string lasting(std::span<std::byte> bytes, const PacketFacts& facts) {
  std::string text(1, static_cast<char>(facts.tuple.protocol));
  append_ip(text, bytes);
  net::PacketView view;
  net::Fragment fragment;
  net::IcmpView message;
  if (facts.kind == Kind::transport && net::parse(bytes, view, net::Extent::headers) == net::ParseError::none) {
    append_transport(text, view);
  } else if (facts.is_fragment() && net::parse_fragment(bytes, fragment) == net::ParseError::none) {
    const net::PacketView& part = fragment.view;
    if (fragment.first)
      append_transport(text, part);
    else
      append(text, std::span<const std::byte>(part.bytes).subspan(part.l4_offset));
  } else if (facts.kind == Kind::icmp_error && net::parse_icmp(bytes, message) == net::ParseError::none) {
    text += facts.detail;
    append_ip(text, std::span<const std::byte>(message.bytes).subspan(message.quoted_offset));
  } else {
    append(text, bytes.subspan(is_v4(bytes) ? 20 : 40));
  }
  return text;
}

}  // namespace

bool Sightings::seen_before(const CapturedPacket& captured, std::span<std::byte> bytes, const PacketFacts& facts) {
  if (facts.kind == Kind::unreadable) return false;
  forget(captured.time);
  const auto found = seen_.find(lasting(bytes, facts));
  if (found == seen_.end()) return false;
  const unsigned ttl = ttl_of(bytes);
  for (const Sighting& before : found->second) {
    if (before.facts.tuple == facts.tuple && before.facts.quoted == facts.quoted) {
      if (ttl + 1 == before.ttl || (ttl == before.ttl && captured.place != before.place)) return true;
    } else if (is_translation(before.facts, facts)) {
      if (rules_.is_service(facts.tuple.protocol, before.facts.tuple.destination)) {
        requests_.insert_or_assign(facts.tuple.reversed(), before.facts.tuple);
      }
      return true;
    }
  }
  return false;
}

bool Sightings::is_translation(const PacketFacts& before, const PacketFacts& now) const {
  if (before.kind != now.kind) return false;
  if (now.kind == Kind::icmp_error) return true;
  if (now.kind == Kind::later_fragment) {
    return before.tuple.source.address == now.tuple.source.address ||
           before.tuple.destination.address == now.tuple.destination.address;
  }
  const net::Protocol protocol = now.tuple.protocol;
  if (rules_.is_service(protocol, before.tuple.destination) && rules_.is_endpoint(protocol, now.tuple.destination)) {
    return now.tuple.source.address == before.tuple.source.address || node_.is_local(now.tuple.source.address);
  }
  return rules_.is_endpoint(protocol, before.tuple.source) && rules_.is_service(protocol, now.tuple.source) &&
         now.tuple.destination.address == client_;
}

void Sightings::remember(const CapturedPacket& captured, std::span<std::byte> bytes, const PacketFacts& facts) {
  if (facts.kind == Kind::unreadable) return;
  std::string key = lasting(bytes, facts);
  seen_[key].push_back({captured.time, ttl_of(bytes), captured.place, facts});
  order_.emplace_back(captured.time, std::move(key));
}

void Sightings::forget(std::chrono::microseconds now) {
  while (!order_.empty() && order_.front().first + kWindow < now) {
    const auto found = seen_.find(order_.front().second);
    found->second.erase(found->second.begin());  // the oldest under this key
    if (found->second.empty()) seen_.erase(found);
    order_.pop_front();
  }
}

std::optional<net::Tuple> Sightings::request_of(const net::Tuple& reply) const {
  const auto found = requests_.find(reply);
  return found == requests_.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace limpet::lab
