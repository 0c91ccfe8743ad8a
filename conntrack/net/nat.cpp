#include "conntrack/net/nat.h"

#include "conntrack/net/checksum.h"
#include "conntrack/net/crc32c.h"
#include "conntrack/net/field.h"
#include "conntrack/net/ip_header.h"

namespace limpet::net {

namespace {

void update_l4_checksum(PacketView& packet, const ChecksumDelta& delta) noexcept {
  std::byte* const field = &packet.bytes[l4_checksum_offset(packet)];
  packet.is_tcp() ? adjust(field, delta) : adjust_unless_zero(field, delta);
}

/// The CRC covers no address, and its place of the ports is known: nothing else need be read.
void update_sctp_checksum(PacketView& packet, std::uint32_t ports_before) noexcept {
  std::byte* const l4 = packet.bytes.data() + packet.l4_offset;
  const std::uint32_t difference = ports_before ^ load_native<std::uint32_t>(l4);
  if (difference == 0) return;
  std::byte* const field = &packet.bytes[l4_checksum_offset(packet)];
  if (load_native<std::uint32_t>(field) == 0)
      [[unlikely]] {  // none was computed (RFC 9653); a computed one serves anybody
    return store_native(field, full_sctp_checksum(packet.bytes.subspan(packet.l4_offset)));
  }
  const std::size_t following = packet.bytes.size() - packet.l4_offset - sizeof difference;
  store_native(field, load_native<std::uint32_t>(field) ^ little_endian(crc32c_change(difference, following)));
}

[[gnu::noinline]] void put_sctp_ports(PacketView& packet, const Rewrite& to, ChecksumMode mode) noexcept {
  std::byte* const l4 = packet.bytes.data() + packet.l4_offset;
  const auto before = load_native<std::uint32_t>(l4);
  ChecksumDelta none;
  put_port(l4, packet.tuple.source.port, to.source.port, none);
  put_port(l4 + 2, packet.tuple.destination.port, to.destination.port, none);
  if (mode == ChecksumMode::incremental) return update_sctp_checksum(packet, before);
  store_native(&packet.bytes[l4_checksum_offset(packet)], full_sctp_checksum(packet.bytes.subspan(packet.l4_offset)));
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
  if (packet.tuple.protocol == Protocol::sctp) [[unlikely]]
    return put_sctp_ports(packet, to, mode);
  put_port(l4, packet.tuple.source.port, to.source.port, delta);
  put_port(l4 + 2, packet.tuple.destination.port, to.destination.port, delta);

  std::byte* const field = &packet.bytes[l4_checksum_offset(packet)];
  if (mode == ChecksumMode::incremental) return update_l4_checksum(packet, delta);
  const bool is_udp = packet.tuple.protocol == Protocol::udp;
  if (is_udp && mode == ChecksumMode::pending) return store_native(field, pending_udp_checksum(packet));
  if (is_udp && mode == ChecksumMode::absent) return store_native(field, std::uint16_t{0});
  store_native(field, full_l4_checksum(packet));
}

}  // namespace limpet::net
