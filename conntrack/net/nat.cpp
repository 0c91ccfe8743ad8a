#include "conntrack/net/nat.h"

#include "conntrack/net/checksum.h"
#include "conntrack/net/field.h"
#include "conntrack/net/ip_header.h"

namespace limpet::net {

namespace {

void update_l4_checksum(PacketView& packet, const ChecksumDelta& delta) noexcept {
  std::byte* const field = &packet.bytes[l4_checksum_offset(packet)];
  packet.is_tcp() ? adjust(field, delta) : adjust_unless_zero(field, delta);
}

}  // namespace

void rewrite(PacketView& packet, const Rewrite& to, ChecksumMode mode) noexcept {
  std::byte* const ip = packet.bytes.data();
  std::byte* const l4 = ip + packet.l4_offset;
  const AddressOffsets offsets = address_offsets(packet.family());

  ChecksumDelta delta;
  put_address(ip + offsets.source, packet.tuple.source.address, to.source.address, delta);
  put_address(ip + offsets.destination, packet.tuple.destination.address, to.destination.address, delta);
  if (packet.family() == Family::v4) adjust(ip + kIpv4ChecksumOffset, delta);
  put_port(l4, packet.tuple.source.port, to.source.port, delta);
  put_port(l4 + 2, packet.tuple.destination.port, to.destination.port, delta);

  std::byte* const field = &packet.bytes[l4_checksum_offset(packet)];
  switch (mode) {
    case ChecksumMode::incremental:
      return update_l4_checksum(packet, delta);
    case ChecksumMode::full:
      return store_native(field, full_l4_checksum(packet));
    case ChecksumMode::pending:
      return store_native(field, pending_udp_checksum(packet));
    case ChecksumMode::absent:
      return store_native(field, std::uint16_t{0});
  }
}

}  // namespace limpet::net
