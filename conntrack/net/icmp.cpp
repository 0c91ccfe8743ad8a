#include "conntrack/net/icmp.h"

#include "conntrack/net/checksum.h"
#include "conntrack/net/field.h"
#include "conntrack/net/ip_header.h"

namespace limpet::net {

namespace {

constexpr std::size_t kIcmpHeader = 8;
constexpr std::size_t kQuotedTransport = 8;  // what an error must quote of it (RFC 792)
constexpr std::size_t kIcmpChecksumOffset = 2;

constexpr bool is_error(Family family, std::uint8_t type) noexcept {
  if (family == Family::v6) return type >= 1 && type <= 4;
  return type == 3 || type == 4 || type == 11 || type == 12;
}

constexpr bool is_redirect(Family family, std::uint8_t type) noexcept {
  return family == Family::v4 && type == 5;
}

constexpr bool has_ports(Protocol protocol) noexcept {
  return protocol == Protocol::tcp || protocol == Protocol::udp || protocol == Protocol::udplite ||
         protocol == Protocol::sctp;
}

/// Reads what the error is about: all that follows the ICMP header, or less if the quoted packet was shorter.
ParseError parse_quoted(IcmpView& view) noexcept {
  view.quoted_offset = view.icmp_offset + kIcmpHeader;
  const std::span<std::byte> there = view.bytes.subspan(view.quoted_offset);
  PacketView quoted;
  FragmentField fragment;
  if (const ParseError error = read_ip(there, Extent::headers, quoted, &fragment); error != ParseError::none)
    return error;
  if (quoted.family() != view.source.family()) return ParseError::bad_version;
  if (fragment.offset != 0 || !has_ports(quoted.tuple.protocol)) return ParseError::unsupported_protocol;
  if (quoted.bytes.size() - quoted.l4_offset < kQuotedTransport) return ParseError::truncated;

  view.quoted_l4_offset = view.quoted_offset + quoted.l4_offset;
  view.quoted_end = view.quoted_offset + quoted.bytes.size();
  view.quoted = quoted.tuple;
  const std::byte* const l4 = view.bytes.data() + view.quoted_l4_offset;
  view.quoted.source.port = load_be16(l4);
  view.quoted.destination.port = load_be16(l4 + 2);
  return ParseError::none;
}

/// Accounts for a checksum field that another function changes.
class Watched {
 public:
  Watched(std::byte* field, ChecksumDelta& delta) noexcept
      : field_(field), delta_(delta), before_(load_native<std::uint16_t>(field)) {}
  ~Watched() { delta_.replace_word(before_, load_native<std::uint16_t>(field_)); }
  Watched(const Watched&) = delete;
  Watched& operator=(const Watched&) = delete;

 private:
  std::byte* field_;
  ChecksumDelta& delta_;
  std::uint16_t before_;
};

/// The checksum of the quoted transport, which covers `change`. `message` learns what became of it.
void adjust_quoted_transport(IcmpView& error, const ChecksumDelta& change, ChecksumDelta& message) noexcept {
  const Protocol protocol = error.quoted.protocol;
  if (protocol == Protocol::sctp) return;
  const std::size_t offset = error.quoted_l4_offset + (protocol == Protocol::tcp ? 16 : 6);
  if (offset + 2 > error.quoted_end) return;
  std::byte* const field = &error.bytes[offset];
  const Watched watched(field, message);
  protocol == Protocol::tcp ? adjust(field, change) : adjust_unless_zero(field, change);
}

/// Puts `to` into the quotation. `message` learns of every word changed.
void rewrite_quoted(IcmpView& error, const Rewrite& to, ChecksumDelta& message) noexcept {
  std::byte* const ip = error.bytes.data() + error.quoted_offset;
  std::byte* const l4 = error.bytes.data() + error.quoted_l4_offset;
  Tuple& quoted = error.quoted;
  const AddressOffsets offsets = address_offsets(quoted.source.address.family());

  ChecksumDelta delta;
  put_address(ip + offsets.source, quoted.source.address, to.source.address, delta);
  put_address(ip + offsets.destination, quoted.destination.address, to.destination.address, delta);
  if (quoted.source.address.is_v4()) {
    const Watched watched(ip + kIpv4ChecksumOffset, message);
    adjust(ip + kIpv4ChecksumOffset, delta);
  }
  put_port(l4, quoted.source.port, to.source.port, delta);
  put_port(l4 + 2, quoted.destination.port, to.destination.port, delta);
  message.add(delta);
  adjust_quoted_transport(error, delta, message);
}

}  // namespace

ParseError parse_icmp(std::span<std::byte> bytes, IcmpView& view) noexcept {
  PacketView packet;
  if (const ParseError error = read_ip(bytes, Extent::whole, packet, nullptr); error != ParseError::none) return error;
  const Family family = packet.family();
  if (packet.tuple.protocol != icmp_protocol(family)) return ParseError::unsupported_protocol;
  if (packet.bytes.size() - packet.l4_offset < kIcmpHeader) return ParseError::truncated;

  view.bytes = packet.bytes;
  view.icmp_offset = packet.l4_offset;
  view.quoted_offset = view.quoted_l4_offset = view.quoted_end = 0;
  view.source = packet.tuple.source.address;
  view.destination = packet.tuple.destination.address;
  view.quoted = {};
  const std::byte* const icmp = view.bytes.data() + view.icmp_offset;
  view.type = load8(icmp);
  view.code = load8(icmp + 1);
  if (is_error(family, view.type) || is_redirect(family, view.type)) {
    view.kind = is_error(family, view.type) ? IcmpKind::error : IcmpKind::redirect;
    return parse_quoted(view);
  }
  view.kind = view.type == echo_request_type(family) ? IcmpKind::echo_request : IcmpKind::other;
  return ParseError::none;
}

void rewrite(IcmpView& error, const IcmpRewrite& to, ChecksumMode mode) noexcept {
  std::byte* const ip = error.bytes.data();
  const Family family = error.source.family();
  const AddressOffsets offsets = address_offsets(family);

  ChecksumDelta addresses, message;
  put_address(ip + offsets.source, error.source, to.source, addresses);
  put_address(ip + offsets.destination, error.destination, to.destination, addresses);
  if (family == Family::v4) {
    adjust(ip + kIpv4ChecksumOffset, addresses);
  } else {
    message.add(addresses);  // ICMPv6 has a pseudo-header (RFC 4443 section 2.3), ICMP has none
  }
  rewrite_quoted(error, to.quoted, message);

  std::byte* const field = ip + error.icmp_offset + kIcmpChecksumOffset;
  if (mode == ChecksumMode::full) return store_native(field, icmp_checksum(error.bytes, error.icmp_offset));
  adjust(field, message);
}

}  // namespace limpet::net
