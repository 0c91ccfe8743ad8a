#include "conntrack/net/reply.h"

#include <algorithm>
#include <cstring>

#include "conntrack/net/checksum.h"
#include "conntrack/net/icmp.h"
#include "conntrack/net/ip_header.h"
#include "conntrack/net/transport.h"

namespace limpet::net {

namespace {

constexpr std::size_t kIcmpHeader = 8;
constexpr std::uint8_t kHopLimit = 64;
constexpr std::uint8_t kInternetControl = 0xc0;  // precedence of an ICMP error (RFC 1812 section 4.3.2.5)
constexpr std::uint16_t kDontFragment = 0x4000;
constexpr std::size_t kMaxIcmpError = 576;

enum : std::uint8_t { kRst = 0x04, kAck = 0x10 };

bool is_multicast(const Address& address) noexcept {
  const auto first = load8(address.bytes().data());
  return address.is_v4() ? (first & 0xf0) == 0xe0 : first == 0xff;
}
bool is_broadcast(const Address& address) noexcept {
  return address == Address::from_v4(0xffffffff);
}
/// Does it name one host?
bool is_single(const Address& address) noexcept {
  return !address.is_unspecified() && !is_multicast(address) && !is_broadcast(address);
}
bool may_be_answered(const Tuple& request) noexcept {
  return is_single(request.source.address) && is_single(request.destination.address);
}

/// Writes an IP header without options for the packet `out`. `flags`: of IPv4.
void put_header(std::span<std::byte> out, const Address& source, const Address& destination, Protocol protocol,
                std::uint8_t tos, std::uint16_t flags) noexcept {
  const Family family = source.family();
  std::byte* const ip = out.data();
  if (family == Family::v4) {
    std::memset(ip, 0, kIpv4Header);
    ip[0] = std::byte{0x45};
    ip[1] = std::byte{tos};
    store_be16(ip + 2, static_cast<std::uint16_t>(out.size()));
    store_be16(ip + 6, flags);
    ip[8] = std::byte{kHopLimit};
    ip[9] = static_cast<std::byte>(protocol);
  } else {
    std::memset(ip, 0, kIpv6Header);
    store_be16(ip, static_cast<std::uint16_t>(0x6000 | tos << 4));  // version, traffic class; flow label 0
    store_be16(ip + 4, static_cast<std::uint16_t>(out.size() - kIpv6Header));
    ip[6] = static_cast<std::byte>(protocol);
    ip[7] = std::byte{kHopLimit};
  }
  const AddressOffsets at = address_offsets(family);
  std::memcpy(ip + at.source, source.bytes().data(), source.size());
  std::memcpy(ip + at.destination, destination.bytes().data(), destination.size());
  if (family == Family::v4) store_native(ip + kIpv4ChecksumOffset, ipv4_header_checksum(out.first(kIpv4Header)));
}

constexpr std::size_t header_size(Family family) noexcept {
  return family == Family::v4 ? kIpv4Header : kIpv6Header;
}

/// Is the field as computed? One's complement has two zeros.
bool is_right(const std::byte* field, std::uint16_t computed) noexcept {
  return load_native<std::uint16_t>(field) % 0xffff == computed % 0xffff;
}

bool has_right_icmp_checksum(std::span<const std::byte> packet, std::size_t icmp_offset) noexcept {
  if (packet.size() - icmp_offset < kIcmpHeader) return false;
  return is_right(&packet[icmp_offset + 2], icmp_checksum(packet, icmp_offset));
}

/// Is the transport checksum of this packet, which is no fragment, right, if it has one that is verified?
bool has_right_checksum(PacketView packet) noexcept {
  const Protocol protocol = packet.tuple.protocol;
  if (protocol == icmp_protocol(packet.family())) return has_right_icmp_checksum(packet.bytes, packet.l4_offset);
  if (protocol != Protocol::tcp && protocol != Protocol::udp) return true;
  if (read_transport(packet, Extent::whole) != ParseError::none) return false;
  const std::byte* const field = &packet.bytes[l4_checksum_offset(packet)];
  const bool has_none = protocol == Protocol::udp && load_native<std::uint16_t>(field) == 0;
  return has_none || is_right(field, full_l4_checksum(packet));
}

/// Is this an ICMP message about which no error may be sent (RFC 1122 section 3.2.2, RFC 4443 section 2.4 e)?
bool is_unanswerable_icmp(const PacketView& request) noexcept {
  if (request.tuple.protocol != icmp_protocol(request.family())) return false;
  if (request.l4_offset == request.bytes.size()) return true;
  const std::uint8_t type = load8(&request.bytes[request.l4_offset]);
  if (request.family() == Family::v6) return type < 128 || type == 137;                 // errors; redirect
  return type == 3 || type == 4 || type == 5 || type == 11 || type == 12 || type > 18;  // errors; redirect; unknown
}

std::span<const std::byte> port_unreachable(std::span<std::byte> request, std::span<std::byte> out,
                                            RequestChecksum checksum) noexcept {
  PacketView view;
  FragmentField fragment;
  if (read_ip(request, Extent::headers, view, &fragment) != ParseError::none) return {};
  if (fragment.offset != 0 || !may_be_answered(view.tuple) || is_unanswerable_icmp(view)) return {};
  if (checksum == RequestChecksum::verify && !fragment.present() && !has_right_checksum(view)) return {};

  const Family family = view.family();
  const bool is_v4 = family == Family::v4;
  const std::size_t header = header_size(family);
  const std::size_t room = (is_v4 ? kMaxIcmpError : kMaxReply) - header - kIcmpHeader;
  const std::size_t quoted = std::min(view.bytes.size(), room);
  const std::span<std::byte> reply = out.first(header + kIcmpHeader + quoted);
  put_header(reply, view.tuple.destination.address, view.tuple.source.address, icmp_protocol(family),
             is_v4 ? kInternetControl : std::uint8_t{0}, kDontFragment);
  std::byte* const icmp = reply.data() + header;
  std::memset(icmp, 0, kIcmpHeader);
  icmp[0] = std::byte{is_v4 ? std::uint8_t{3} : std::uint8_t{1}};
  icmp[1] = std::byte{is_v4 ? std::uint8_t{3} : std::uint8_t{4}};
  std::memcpy(icmp + kIcmpHeader, view.bytes.data(), quoted);
  store_native(icmp + 2, icmp_checksum(reply, header));
  return reply;
}

std::span<const std::byte> tcp_reset(std::span<std::byte> request, std::span<std::byte> out,
                                     RequestChecksum checksum) noexcept {
  PacketView view;
  if (parse(request, view, Extent::headers) != ParseError::none || !view.is_tcp()) return {};
  if (view.tcp_flags.rst() || !may_be_answered(view.tuple)) return {};
  if (checksum == RequestChecksum::verify && !has_right_checksum(view)) return {};

  const std::size_t header = header_size(view.family());
  const std::span<std::byte> reply = out.first(header + kTcpHeader);
  put_header(reply, view.tuple.destination.address, view.tuple.source.address, Protocol::tcp, 0, kDontFragment);
  std::byte* const tcp = reply.data() + header;
  std::memset(tcp, 0, kTcpHeader);
  store_be16(tcp, view.tuple.destination.port);
  store_be16(tcp + 2, view.tuple.source.port);
  tcp[12] = std::byte{kTcpHeader / 4 << 4};
  if (view.tcp_flags.ack()) {
    store_be32(tcp + 4, view.tcp_acknowledgement);
    tcp[13] = std::byte{kRst};
  } else {
    const std::uint32_t length = view.tcp_payload + view.tcp_flags.syn() + view.tcp_flags.fin();
    store_be32(tcp + 8, view.tcp_sequence + length);
    tcp[13] = std::byte{kRst | kAck};
  }
  PacketView made;
  if (parse(reply, made) != ParseError::none) return {};
  store_native(tcp + 16, full_l4_checksum(made));
  return reply;
}

/// The message stays where it is; a header without options or extensions takes the place of what is before it.
std::span<const std::byte> echo_reply(std::span<std::byte> request, RequestChecksum state) noexcept {
  IcmpView view;
  if (parse_icmp(request, view) != ParseError::none || view.kind != IcmpKind::echo_request) return {};
  if (!is_single(view.source) || !is_single(view.destination)) return {};
  if (state == RequestChecksum::verify && !has_right_icmp_checksum(view.bytes, view.icmp_offset)) return {};

  const Family family = view.source.family();
  const std::span<std::byte> reply = view.bytes.subspan(view.icmp_offset - header_size(family));
  std::byte* const icmp = view.bytes.data() + view.icmp_offset;
  if (state == RequestChecksum::pending) store_native(icmp + 2, icmp_checksum(view.bytes, view.icmp_offset));
  ChecksumDelta delta;  // ICMPv6's pseudo-header sums up to the same with its addresses exchanged
  const auto before = load_native<std::uint16_t>(icmp);
  icmp[0] = std::byte{family == Family::v4 ? std::uint8_t{0} : std::uint8_t{129}};
  delta.replace_word(before, load_native<std::uint16_t>(icmp));
  // Of a message of zeros the checksum is ffff, of others 0 and ffff are the same.
  const std::uint16_t checksum = delta.apply(load_native<std::uint16_t>(icmp + 2));
  store_native(icmp + 2, checksum == 0 ? std::uint16_t{0xffff} : checksum);
  const auto tos =
      static_cast<std::uint8_t>(family == Family::v4 ? load8(request.data() + 1) : load_be16(request.data()) >> 4);
  put_header(reply, view.destination, view.source, icmp_protocol(family), tos, 0);
  return reply;
}

}  // namespace

std::span<const std::byte> build_reply(ReplyKind kind, std::span<std::byte> request, std::span<std::byte> out,
                                       RequestChecksum checksum) noexcept {
  switch (kind) {
    case ReplyKind::none:
      return {};
    case ReplyKind::port_unreachable:
      return port_unreachable(request, out, checksum);
    case ReplyKind::tcp_reset:
      return tcp_reset(request, out, checksum);
    case ReplyKind::echo_reply:
      return echo_reply(request, checksum);
  }
  return {};
}

}  // namespace limpet::net
