#include "conntrack/net/packet.h"

#include "conntrack/net/wire.h"

namespace limpet::net {

namespace {

constexpr std::size_t kIpv4Header = 20;  // without options
constexpr std::size_t kIpv6Header = 40;
constexpr std::size_t kTcpHeader = 20;  // without options
constexpr std::size_t kUdpHeader = 8;

/// IANA numbers of the IPv6 extension headers that are walked over.
enum : std::uint8_t { kHopByHop = 0, kRouting = 43, kFragment = 44, kAuthentication = 51, kDestinationOptions = 60 };

/// Sets bytes, l4_offset, addresses, protocol and ttl.
ParseError parse_ipv4(std::span<std::byte> bytes, PacketView& view) noexcept {
  if (bytes.size() < kIpv4Header) return ParseError::truncated;
  const std::byte* const ip = bytes.data();
  const std::size_t header = (load8(ip) & 0x0fU) * 4;
  if (header < kIpv4Header) return ParseError::bad_header_length;
  const std::size_t total = load_be16(ip + 2);  // 0 in a BIG TCP packet, which does not fit in a message: truncated
  if (total < header || total > bytes.size()) return ParseError::truncated;
  if ((load_be16(ip + 6) & 0x3fff) != 0) return ParseError::fragment;  // more-fragments bit and offset

  view.bytes = bytes.first(total);
  view.l4_offset = header;
  view.ttl = load8(ip + 8);
  view.tuple.protocol = Protocol{load8(ip + 9)};
  view.tuple.source.address = Address::from_wire(Family::v4, ip + 12);
  view.tuple.destination.address = Address::from_wire(Family::v4, ip + 16);
  return ParseError::none;
}

constexpr bool is_extension(std::uint8_t next_header) noexcept {
  return next_header == kHopByHop || next_header == kRouting || next_header == kFragment ||
         next_header == kAuthentication || next_header == kDestinationOptions;
}

/// Size in bytes of the extension header of this type that starts with the eight bytes at `header`.
std::size_t extension_size(std::uint8_t type, const std::byte* header) noexcept {
  if (type == kFragment) return 8;
  const std::size_t units = load8(header + 1);
  return type == kAuthentication ? (units + 2) * 4 : (units + 1) * 8;
}

/// What one extension header says against translating the packet.
ParseError check_extension(std::uint8_t type, const std::byte* header) noexcept {
  // Offset and more-fragments bit. An atomic fragment has neither: it is whole (RFC 6946).
  if (type == kFragment && (load_be16(header + 2) & 0xfff9) != 0) return ParseError::fragment;
  if (type == kRouting && load8(header + 3) != 0) return ParseError::extension_chain;
  return ParseError::none;
}

/// Moves view.l4_offset from the end of the IPv6 header over the extension headers; sets the protocol.
ParseError walk_extensions(std::uint8_t next_header, PacketView& view) noexcept {
  for (unsigned walked = 0; is_extension(next_header); ++walked) {
    if (walked == kMaxExtensionHeaders) return ParseError::extension_chain;
    const std::size_t left = view.bytes.size() - view.l4_offset;
    if (left < 8) return ParseError::truncated;
    const std::byte* const header = view.bytes.data() + view.l4_offset;
    const std::size_t size = extension_size(next_header, header);
    if (size > left) return ParseError::truncated;
    if (const ParseError error = check_extension(next_header, header); error != ParseError::none) return error;
    next_header = load8(header);
    view.l4_offset += size;
  }
  view.tuple.protocol = Protocol{next_header};
  return ParseError::none;
}

/// Sets bytes, l4_offset, addresses, protocol and ttl.
ParseError parse_ipv6(std::span<std::byte> bytes, PacketView& view) noexcept {
  if (bytes.size() < kIpv6Header) return ParseError::truncated;
  const std::byte* const ip = bytes.data();
  const std::size_t total = kIpv6Header + load_be16(ip + 4);  // payload length 0 (a jumbogram) leaves no room for L4
  if (total > bytes.size()) return ParseError::truncated;

  view.bytes = bytes.first(total);
  view.l4_offset = kIpv6Header;
  view.ttl = load8(ip + 7);
  view.tuple.source.address = Address::from_wire(Family::v6, ip + 8);
  view.tuple.destination.address = Address::from_wire(Family::v6, ip + 24);
  return walk_extensions(load8(ip + 6), view);
}

void read_ports(const std::byte* l4, PacketView& view) noexcept {
  view.tuple.source.port = load_be16(l4);
  view.tuple.destination.port = load_be16(l4 + 2);
}

ParseError parse_tcp(PacketView& view) noexcept {
  const std::byte* const tcp = view.bytes.data() + view.l4_offset;
  const std::size_t left = view.bytes.size() - view.l4_offset;
  if (left < kTcpHeader) return ParseError::truncated;
  const std::size_t header = (load8(tcp + 12) >> 4) * std::size_t{4};
  if (header < kTcpHeader) return ParseError::bad_header_length;
  if (header > left) return ParseError::truncated;

  read_ports(tcp, view);
  view.tcp_sequence = load_be32(tcp + 4);
  view.tcp_acknowledgement = load_be32(tcp + 8);
  view.tcp_flags = {load8(tcp + 13)};
  view.tcp_payload = static_cast<std::uint32_t>(left - header);
  return ParseError::none;
}

ParseError parse_udp(PacketView& view) noexcept {
  const std::byte* const udp = view.bytes.data() + view.l4_offset;
  const std::size_t left = view.bytes.size() - view.l4_offset;
  if (left < kUdpHeader) return ParseError::truncated;
  const std::size_t length = load_be16(udp + 4);
  if (length < kUdpHeader) return ParseError::bad_header_length;
  if (length > left) return ParseError::truncated;

  read_ports(udp, view);
  view.tcp_sequence = view.tcp_acknowledgement = view.tcp_payload = 0;
  view.tcp_flags = {};
  return ParseError::none;
}

}  // namespace

std::string_view to_string(ParseError error) noexcept {
  constexpr std::string_view kNames[kParseErrors] = {
      "none", "truncated", "bad_version", "bad_header_length", "fragment", "extension_chain", "unsupported_protocol",
  };
  return kNames[static_cast<std::size_t>(error)];
}

ParseError parse(std::span<std::byte> bytes, PacketView& view, Extent) noexcept {
  if (bytes.empty()) return ParseError::truncated;
  const unsigned version = load8(bytes.data()) >> 4;
  if (version != 4 && version != 6) return ParseError::bad_version;
  const ParseError error = version == 4 ? parse_ipv4(bytes, view) : parse_ipv6(bytes, view);
  if (error != ParseError::none) return error;
  switch (view.tuple.protocol) {
    case Protocol::tcp:
      return parse_tcp(view);
    case Protocol::udp:
      return parse_udp(view);
    default:
      return ParseError::unsupported_protocol;
  }
}

}  // namespace limpet::net
