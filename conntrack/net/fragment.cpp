#include "conntrack/net/fragment.h"

#include "conntrack/net/field.h"
#include "conntrack/net/ip_header.h"
#include "conntrack/net/transport.h"

namespace limpet::net {

namespace {

/// May this be the protocol that a later fragment states? IPv6: the datagram's own extension headers may begin with the
/// part that is cut up, and a later fragment then states them.
bool may_be_translated(const PacketView& later) noexcept {
  switch (later.tuple.protocol) {
    case Protocol::tcp:
    case Protocol::udp:
    case Protocol::udplite:
      return true;
    default:
      return later.family() == Family::v6 &&
             ip_header_detail::is_extension(static_cast<std::uint8_t>(later.tuple.protocol));
  }
}

ParseError check_later(const FragmentField& field, const PacketView& view) noexcept {
  if (view.tuple.protocol == Protocol::sctp) return ParseError::fragment;
  // It would overwrite the header that the first one has shown (RFC 3128).
  if (view.tuple.protocol == Protocol::tcp && field.offset < kTcpHeader) return ParseError::fragment;
  return may_be_translated(view) ? ParseError::none : ParseError::unsupported_protocol;
}

}  // namespace

ParseError parse_fragment(std::span<std::byte> bytes, Fragment& fragment) noexcept {
  PacketView& view = fragment.view;
  FragmentField field;
  if (const ParseError error = read_ip(bytes, Extent::whole, view, &field); error != ParseError::none) return error;
  fragment.first = field.offset == 0;
  fragment.last = !field.more;
  // RFC 8200 section 4.5 names an IPv6 datagram without its protocol, which later fragments may state differently.
  fragment.datagram = {view.tuple.source.address, view.tuple.destination.address,
                       view.family() == Family::v4 ? view.tuple.protocol : Protocol{}, field.identification};
  if (!field.present()) return ParseError::unsupported_protocol;
  if (fragment.first) {
    if (view.tuple.protocol == Protocol::sctp) return ParseError::fragment;
    return read_transport(view, Extent::headers);
  }
  transport_detail::clear_tcp(view);
  transport_detail::clear_sctp(view);
  view.tuple.source.port = view.tuple.destination.port = 0;
  return check_later(field, view);
}

void rewrite_later(PacketView& fragment, const Address& source, const Address& destination) noexcept {
  std::byte* const ip = fragment.bytes.data();
  const AddressOffsets offsets = address_offsets(fragment.family());
  ChecksumDelta delta;
  put_address(ip + offsets.source, fragment.tuple.source.address, source, delta);
  put_address(ip + offsets.destination, fragment.tuple.destination.address, destination, delta);
  if (fragment.family() == Family::v4) adjust(ip + kIpv4ChecksumOffset, delta);
}

}  // namespace limpet::net
