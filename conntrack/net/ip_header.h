// ip_header.h: the IP header and IPv6's extension headers, for the views that begin with them (packet, icmp, fragment).
//
//   read_ip(bytes, extent, view, nullptr)     a whole packet: a fragment is refused
//   read_ip(bytes, extent, view, &fragment)   a fragment too: told by fragment.present(). The walk over a later one's
//                                             headers ends at the fragment header, for what follows is data
//
// Sets bytes, l4_offset, protocol, addresses and ttl of the view; l4_offset lies within the bytes or at their end.
// Inline, so that parse(), which every packet meets, pays for no more than it asks. Pure; never throws.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "conntrack/net/packet.h"
#include "conntrack/net/wire.h"

namespace limpet::net {

inline constexpr std::size_t kIpv4Header = 20;  // without options
inline constexpr std::size_t kIpv6Header = 40;

/// Where the addresses stand in an IP header.
struct AddressOffsets {
  std::size_t source, destination;
};
constexpr AddressOffsets address_offsets(Family family) noexcept {
  return family == Family::v4 ? AddressOffsets{12, 16} : AddressOffsets{8, 24};
}

/// What an IP header says of fragmentation (RFC 791; RFC 8200 section 4.5).
struct FragmentField {
  std::uint32_t identification = 0;
  std::uint16_t offset = 0;  // bytes
  bool more = false;
  bool present() const noexcept { return more || offset != 0; }
};

namespace ip_header_detail {

/// IANA numbers of the IPv6 extension headers that are walked over.
enum : std::uint8_t { kHopByHop = 0, kRouting = 43, kFragment = 44, kAuthentication = 51, kDestinationOptions = 60 };

constexpr bool is_extension(std::uint8_t next_header) noexcept {
  return next_header == kHopByHop || next_header == kRouting || next_header == kFragment ||
         next_header == kAuthentication || next_header == kDestinationOptions;
}

/// Size in bytes of the extension header of this type that starts with the eight bytes at `header`.
inline std::size_t extension_size(std::uint8_t type, const std::byte* header) noexcept {
  if (type == kFragment) return 8;
  const std::size_t units = load8(header + 1);
  return type == kAuthentication ? (units + 2) * 4 : (units + 1) * 8;
}

/// The bytes of the packet that are there, given the length that its header states; 0 where they do not suffice.
inline std::size_t present_length(std::size_t stated, std::size_t header, std::size_t there, Extent extent) noexcept {
  if (stated >= header && stated <= there) [[likely]]
    return stated;
  if (extent == Extent::whole || there < header || (stated != 0 && stated < header)) return 0;
  return there;
}

inline ParseError read_ipv4(std::span<std::byte> bytes, Extent extent, PacketView& view,
                            FragmentField* fragment) noexcept {
  if (bytes.size() < kIpv4Header) return ParseError::truncated;
  const std::byte* const ip = bytes.data();
  const std::size_t header = (load8(ip) & 0x0fU) * 4;
  if (header < kIpv4Header) return ParseError::bad_header_length;
  const std::size_t length = present_length(load_be16(ip + 2), header, bytes.size(), extent);
  if (length == 0) return ParseError::truncated;
  const std::uint16_t field = load_be16(ip + 6);  // three flags, the offset in units of 8 bytes
  if (fragment != nullptr) {
    *fragment = {load_be16(ip + 4), static_cast<std::uint16_t>(field << 3), (field & 0x2000) != 0};
  } else if ((field & 0x3fff) != 0) {
    return ParseError::fragment;
  }

  view.bytes = bytes.first(length);
  view.l4_offset = header;
  view.ttl = load8(ip + 8);
  view.tuple.protocol = Protocol{load8(ip + 9)};
  view.tuple.source.address = Address::from_wire(Family::v4, ip + 12);
  view.tuple.destination.address = Address::from_wire(Family::v4, ip + 16);
  return ParseError::none;
}

/// What the extension header of this type says against translating the packet. Fills `fragment`, if given.
inline ParseError check_extension(std::uint8_t type, const std::byte* header, FragmentField* fragment) noexcept {
  if (type == kRouting && load8(header + 3) != 0) return ParseError::extension_chain;
  if (type != kFragment) return ParseError::none;
  const std::uint16_t field = load_be16(header + 2);   // the offset in units of 8 bytes, two reserved bits, more
  if ((field & 0xfff9) == 0) return ParseError::none;  // atomic: it is whole (RFC 6946)
  if (fragment == nullptr) return ParseError::fragment;
  if (fragment->present()) return ParseError::extension_chain;  // a fragment of a fragment
  *fragment = {load_be32(header + 4), static_cast<std::uint16_t>(field & 0xfff8), (field & 1) != 0};
  return ParseError::none;
}

/// Moves view.l4_offset from the end of the IPv6 header over the extension headers; sets the protocol.
inline ParseError walk_extensions(std::uint8_t next_header, PacketView& view, FragmentField* fragment) noexcept {
  for (unsigned walked = 0; is_extension(next_header); ++walked) {
    if (fragment != nullptr && fragment->offset != 0) break;
    if (walked == kMaxExtensionHeaders) return ParseError::extension_chain;
    const std::size_t left = view.bytes.size() - view.l4_offset;
    if (left < 8) return ParseError::truncated;
    const std::byte* const header = view.bytes.data() + view.l4_offset;
    const std::size_t size = extension_size(next_header, header);
    if (size > left) return ParseError::truncated;
    if (const ParseError error = check_extension(next_header, header, fragment); error != ParseError::none)
      return error;
    next_header = load8(header);
    view.l4_offset += size;
  }
  view.tuple.protocol = Protocol{next_header};
  return ParseError::none;
}

inline ParseError read_ipv6(std::span<std::byte> bytes, Extent extent, PacketView& view,
                            FragmentField* fragment) noexcept {
  if (bytes.size() < kIpv6Header) return ParseError::truncated;
  const std::byte* const ip = bytes.data();
  // A payload length of 0 says that a jumbo payload option may follow (RFC 2675): taken whole, there is no transport.
  const std::size_t payload = load_be16(ip + 4);
  const std::size_t stated = payload == 0 && extent == Extent::headers ? 0 : kIpv6Header + payload;
  const std::size_t length = present_length(stated, kIpv6Header, bytes.size(), extent);
  if (length == 0) return ParseError::truncated;

  view.bytes = bytes.first(length);
  view.l4_offset = kIpv6Header;
  view.ttl = load8(ip + 7);
  view.tuple.source.address = Address::from_wire(Family::v6, ip + 8);
  view.tuple.destination.address = Address::from_wire(Family::v6, ip + 24);
  if (fragment != nullptr) *fragment = {};
  return walk_extensions(load8(ip + 6), view, fragment);
}

}  // namespace ip_header_detail

inline ParseError read_ip(std::span<std::byte> bytes, Extent extent, PacketView& view,
                          FragmentField* fragment) noexcept {
  if (bytes.empty()) return ParseError::truncated;
  switch (load8(bytes.data()) >> 4) {
    case 4:
      return ip_header_detail::read_ipv4(bytes, extent, view, fragment);
    case 6:
      return ip_header_detail::read_ipv6(bytes, extent, view, fragment);
    default:
      return ParseError::bad_version;
  }
}

}  // namespace limpet::net
