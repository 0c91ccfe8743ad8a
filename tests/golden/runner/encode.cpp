#include <algorithm>
#include <stdexcept>

#include "tests/golden/runner/packet_spec.h"

namespace limpet::golden {

namespace {

constexpr unsigned kFragmentHeader = 44;

void put8(Bytes& out, unsigned value) {
  out.push_back(static_cast<std::byte>(value & 0xff));
}
void put16(Bytes& out, unsigned value) {
  put8(out, value >> 8), put8(out, value);
}
void put32(Bytes& out, std::uint32_t value) {
  put16(out, value >> 16), put16(out, value);
}
void append(Bytes& out, const Bytes& more) {
  out.insert(out.end(), more.begin(), more.end());
}
void set16(Bytes& out, std::size_t at, unsigned value) {
  out.at(at) = static_cast<std::byte>(value >> 8 & 0xff);
  out.at(at + 1) = static_cast<std::byte>(value & 0xff);
}

/// One's-complement addition of 16-bit numbers.
unsigned add(unsigned a, unsigned b) {
  const unsigned sum = a + b;
  return (sum & 0xffff) + (sum >> 16);
}

/// RFC 1071 section 1. An odd last byte is the high half of a word.
unsigned sum_of(const Bytes& bytes, std::size_t length) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < length; ++i) {
    const unsigned byte = std::to_integer<unsigned>(bytes.at(i));
    sum = add(sum, i % 2 == 0 ? byte << 8 : byte);
  }
  return sum;
}

/// RFC 793 and RFC 8200 section 8.1. IPv4's order of the last two differs; their sum does not.
unsigned pseudo_sum(const PacketSpec& packet, std::size_t length) {
  Bytes header;
  append(header, packet.source), append(header, packet.destination);
  put32(header, static_cast<std::uint32_t>(length)), put32(header, packet.protocol);
  return sum_of(header, header.size());
}

/// RFC 9260 appendix A, bit by bit.
std::uint32_t crc32c_of(const Bytes& bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const std::byte byte : bytes) {
    crc ^= std::to_integer<std::uint32_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
  }
  return ~crc;
}

/// What stands in the field of the Internet checksum, at which `l4` has 0 yet. `covered` bytes are summed.
unsigned checksum_field(const PacketSpec& packet, const Bytes& l4, std::size_t covered, unsigned pseudo) {
  if (packet.checksum == Checksum::zero) return 0;
  if (packet.checksum == Checksum::pending) return pseudo;
  unsigned sum = add(sum_of(l4, covered), pseudo);
  if (packet.checksum == Checksum::bad) sum = add(sum, 0x0100);
  const unsigned field = ~sum & 0xffff;
  const bool zero_means_none = packet.protocol == kUdp || packet.protocol == kUdpLite;
  return field == 0 && zero_means_none ? 0xffff : field;
}

Bytes tcp(const PacketSpec& packet) {
  Bytes out;
  put16(out, packet.source_port), put16(out, packet.destination_port);
  put32(out, packet.sequence), put32(out, packet.acknowledgement);
  put8(out, static_cast<unsigned>(5 + packet.tcp_options.size() / 4) << 4), put8(out, packet.flags);
  put16(out, packet.window), put16(out, 0), put16(out, 0);
  append(out, packet.tcp_options), append(out, packet.payload);
  set16(out, 16, checksum_field(packet, out, out.size(), pseudo_sum(packet, out.size())));
  return out;
}

Bytes udp(const PacketSpec& packet) {
  Bytes out;
  const std::size_t length = packet.length.value_or(static_cast<unsigned>(8 + packet.payload.size()));
  put16(out, packet.source_port), put16(out, packet.destination_port);
  put16(out, static_cast<unsigned>(length)), put16(out, 0);
  append(out, packet.payload);
  set16(out, 6, checksum_field(packet, out, std::min(length, out.size()), pseudo_sum(packet, length)));
  return out;
}

/// RFC 3828: a coverage of 0 is the whole; the pseudo-header has the length of the whole in any case.
Bytes udplite(const PacketSpec& packet) {
  Bytes out;
  const std::size_t coverage = packet.coverage.value_or(0);
  put16(out, packet.source_port), put16(out, packet.destination_port);
  put16(out, static_cast<unsigned>(coverage)), put16(out, 0);
  append(out, packet.payload);
  const std::size_t covered = coverage == 0 ? out.size() : std::min(coverage, out.size());
  set16(out, 6, checksum_field(packet, out, covered, pseudo_sum(packet, out.size())));
  return out;
}

Bytes sctp(const PacketSpec& packet) {
  Bytes out;
  put16(out, packet.source_port), put16(out, packet.destination_port);
  put32(out, packet.tag), put32(out, 0);
  append(out, packet.payload);
  if (packet.checksum == Checksum::zero || packet.checksum == Checksum::pending) return out;
  const std::uint32_t crc = crc32c_of(out) ^ (packet.checksum == Checksum::bad ? 1 : 0);
  for (unsigned i = 0; i < 4; ++i) out[8 + i] = static_cast<std::byte>(crc >> 8 * i & 0xff);
  return out;
}

Bytes icmp(const PacketSpec& packet) {
  Bytes out;
  put8(out, packet.icmp_type), put8(out, packet.icmp_code), put16(out, 0), put32(out, packet.icmp_word);
  for (const PacketSpec& quoted : packet.quoted) append(out, encode(quoted));
  append(out, packet.payload);
  const unsigned pseudo = packet.v4 ? 0 : pseudo_sum(packet, out.size());  // RFC 4443 section 2.3
  set16(out, 2, checksum_field(packet, out, out.size(), pseudo));
  return out;
}

Bytes transport(const PacketSpec& packet) {
  switch (packet.protocol) {
    case kTcp:
      return tcp(packet);
    case kUdp:
      return udp(packet);
    case kUdpLite:
      return udplite(packet);
    case kSctp:
      return sctp(packet);
    case kIcmp:
    case kIcmp6:
      return icmp(packet);
    default:
      return packet.payload;
  }
}

/// Offset in units of eight bytes and more-to-come, of `piece` of `size` bytes.
struct Place {
  unsigned offset = 0;
  bool more = false;
};
Place place_of(const std::optional<Piece>& piece, std::size_t size) {
  if (!piece) return {};
  if (piece->from % 8 != 0 || piece->from > piece->to || piece->to > size)
    throw std::logic_error("a piece begins at a multiple of 8 and lies within the datagram, which has " +
                           std::to_string(size) + " bytes");
  return {static_cast<unsigned>(piece->from / 8), piece->to < size};
}

Bytes ipv4(const PacketSpec& packet, const Bytes& l4, const Place& place) {
  const std::size_t header = 20 + packet.ip_options.size();
  Bytes out;
  put8(out, 0x40U | static_cast<unsigned>(header / 4)), put8(out, packet.tos);
  put16(out, packet.ip_length.value_or(static_cast<unsigned>(header + l4.size())));
  put16(out, packet.id);
  put16(out, (packet.dont_fragment ? 0x4000U : 0U) | (place.more ? 0x2000U : 0U) | place.offset);
  put8(out, packet.ttl), put8(out, packet.protocol), put16(out, 0);
  append(out, packet.source), append(out, packet.destination), append(out, packet.ip_options);
  set16(out, 10, ~sum_of(out, out.size()));
  append(out, l4);
  return out;
}

Bytes ipv6(const PacketSpec& packet, const Bytes& l4, const Place& place) {
  std::vector<Extension> chain = packet.extensions;
  if (packet.piece) {
    Bytes body;
    put8(body, 0), put16(body, place.offset << 3 | (place.more ? 1U : 0U)), put32(body, packet.id);
    chain.push_back({kFragmentHeader, body});
  }
  std::size_t length = l4.size();
  for (const Extension& extension : chain) length += 1 + extension.body.size();
  Bytes out;
  put32(out, 6U << 28 | packet.tos << 20 | packet.flow_label);
  put16(out, packet.ip_length.value_or(static_cast<unsigned>(length)));
  put8(out, chain.empty() ? packet.protocol : chain.front().type), put8(out, packet.ttl);
  append(out, packet.source), append(out, packet.destination);
  for (std::size_t i = 0; i < chain.size(); ++i) {
    put8(out, i + 1 < chain.size() ? chain[i + 1].type : packet.protocol);
    append(out, chain[i].body);
  }
  append(out, l4);
  return out;
}

}  // namespace

Bytes encode(const PacketSpec& packet) {
  Bytes l4 = transport(packet);
  const Place place = place_of(packet.piece, l4.size());
  if (packet.piece) {
    l4.resize(packet.piece->to);
    l4.erase(l4.begin(), l4.begin() + static_cast<std::ptrdiff_t>(packet.piece->from));
  }
  Bytes out = packet.v4 ? ipv4(packet, l4, place) : ipv6(packet, l4, place);
  const std::size_t most =
      std::min(packet.first.value_or(out.size()), packet.cut.value_or(l4.size()) + out.size() - l4.size());
  out.resize(std::min(out.size(), most));
  return out;
}

}  // namespace limpet::golden
