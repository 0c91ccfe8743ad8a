#include "conntrack/net/nat.h"

#include "conntrack/net/checksum.h"
#include "conntrack/net/wire.h"

namespace limpet::net {

namespace {

struct AddressOffsets {
  std::size_t source, destination;
};
constexpr AddressOffsets address_offsets(Family family) noexcept {
  return family == Family::v4 ? AddressOffsets{12, 16} : AddressOffsets{8, 24};
}

/// Puts `to` at `at`, where `current` stands.
void put_address(std::byte* at, Address& current, const Address& to, ChecksumDelta& delta) noexcept {
  if (current == to) return;
  delta.replace(current.bytes(), to.bytes());
  std::memcpy(at, to.bytes().data(), to.size());
  current = to;
}

void put_port(std::byte* at, std::uint16_t& current, std::uint16_t to, ChecksumDelta& delta) noexcept {
  if (current == to) return;
  delta.replace_word(network_order(current), network_order(to));
  store_be16(at, to);
  current = to;
}

void update_ipv4_checksum(PacketView& packet, const ChecksumDelta& addresses) noexcept {
  std::byte* const field = &packet.bytes[kIpv4ChecksumOffset];
  store_native(field, addresses.apply(load_native<std::uint16_t>(field)));
}

void update_l4_checksum(PacketView& packet, const ChecksumDelta& delta) noexcept {
  std::byte* const field = &packet.bytes[l4_checksum_offset(packet)];
  const auto checksum = load_native<std::uint16_t>(field);
  const bool is_udp = !packet.is_tcp();
  if (is_udp && checksum == 0) return;  // the sender made none
  const std::uint16_t updated = delta.apply(checksum);
  store_native(field, is_udp && updated == 0 ? std::uint16_t{0xffff} : updated);  // RFC 768: 0 would mean none
}

}  // namespace

void rewrite(PacketView& packet, const Rewrite& to, ChecksumMode mode) noexcept {
  std::byte* const ip = packet.bytes.data();
  std::byte* const l4 = ip + packet.l4_offset;
  const AddressOffsets offsets = address_offsets(packet.family());

  ChecksumDelta delta;
  put_address(ip + offsets.source, packet.tuple.source.address, to.source.address, delta);
  put_address(ip + offsets.destination, packet.tuple.destination.address, to.destination.address, delta);
  if (packet.family() == Family::v4) update_ipv4_checksum(packet, delta);
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
