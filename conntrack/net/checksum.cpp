#include "conntrack/net/checksum.h"

#include <algorithm>

#include "conntrack/net/crc32c.h"

namespace limpet::net {

namespace {

constexpr std::size_t kTcpChecksumOffset = 16;
constexpr std::size_t kUdpChecksumOffset = 6;  // UDP-Lite's, too
constexpr std::size_t kSctpChecksumOffset = 8;

/// Unfolded sum. One plain loop, which the compiler turns into the widest additions of the function it is inlined into.
[[gnu::always_inline]] inline std::uint64_t accumulate(std::span<const std::byte> bytes) noexcept {
  std::uint64_t total = 0;
  std::size_t at = 0;
  for (; at + 4 <= bytes.size(); at += 4) total += load_native<std::uint32_t>(bytes.data() + at);
  if (at + 2 <= bytes.size()) {
    total += load_native<std::uint16_t>(bytes.data() + at);
    at += 2;
  }
  if (at < bytes.size()) {
    const std::byte padded[2] = {bytes[at], std::byte{0}};
    total += load_native<std::uint16_t>(padded);
  }
  return total;
}

#if defined(__x86_64__)
[[gnu::target("avx2")]] std::uint64_t accumulate_avx2(std::span<const std::byte> bytes) noexcept {
  return accumulate(bytes);
}
#endif

std::uint64_t accumulate_fastest(std::span<const std::byte> bytes) noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx2")) return accumulate_avx2(bytes);  // a load and a test, well predicted
#endif
  return accumulate(bytes);
}

/// The one's-complement negative of a checksum field: added to a sum over it, the field counts as zero.
constexpr std::uint16_t without(std::uint16_t field) noexcept {
  return static_cast<std::uint16_t>(~field);
}

/// Unfolded sum of addresses, protocol and transport length. Both families lay the two addresses side by side.
std::uint64_t pseudo_header(std::span<const std::byte> packet, Family family, Protocol protocol,
                            std::size_t length) noexcept {
  const bool is_v4 = family == Family::v4;
  const std::uint64_t addresses = accumulate(packet.subspan(is_v4 ? 12 : 8, is_v4 ? 8 : 32));
  return addresses + network_order(std::uint32_t{static_cast<std::uint8_t>(protocol)}) +
         network_order(static_cast<std::uint32_t>(length));
}
std::uint64_t pseudo_header(const PacketView& packet, std::size_t length) noexcept {
  return pseudo_header(packet.bytes, packet.family(), packet.tuple.protocol, length);
}

}  // namespace

std::uint16_t sum(std::span<const std::byte> bytes) noexcept {
  return fold(accumulate_fastest(bytes));
}

std::uint16_t ipv4_header_checksum(std::span<const std::byte> header) noexcept {
  const auto field = load_native<std::uint16_t>(&header[kIpv4ChecksumOffset]);
  return static_cast<std::uint16_t>(~fold(accumulate(header) + without(field)));
}

std::size_t l4_checksum_offset(const PacketView& packet) noexcept {
  if (packet.is_tcp()) return packet.l4_offset + kTcpChecksumOffset;
  const bool is_sctp = packet.tuple.protocol == Protocol::sctp;
  return packet.l4_offset + (is_sctp ? kSctpChecksumOffset : kUdpChecksumOffset);
}

std::uint16_t full_l4_checksum(const PacketView& packet) noexcept {
  const std::span<const std::byte> l4 = packet.bytes.subspan(packet.l4_offset);
  std::size_t stated = l4.size();   // what the pseudo-header says
  std::size_t covered = l4.size();  // what is summed
  if (packet.tuple.protocol == Protocol::udp) stated = covered = load_be16(&l4[4]);
  if (packet.tuple.protocol == Protocol::udplite && load_be16(&l4[4]) != 0) covered = load_be16(&l4[4]);
  const auto field = load_native<std::uint16_t>(&packet.bytes[l4_checksum_offset(packet)]);
  const std::uint64_t total =
      accumulate_fastest(l4.first(std::min(covered, l4.size()))) + pseudo_header(packet, stated) + without(field);
  const auto checksum = static_cast<std::uint16_t>(~fold(total));
  return !packet.is_tcp() && checksum == 0 ? std::uint16_t{0xffff} : checksum;
}

std::uint32_t full_sctp_checksum(std::span<const std::byte> sctp) noexcept {
  // The field counts as zero: take away what it adds.
  const auto field = load_native<std::uint32_t>(&sctp[kSctpChecksumOffset]);
  const std::size_t following = sctp.size() - kSctpChecksumOffset - sizeof field;
  return little_endian(crc32c(sctp) ^ crc32c_change(field, following));
}

std::uint16_t icmp_checksum(std::span<const std::byte> packet, std::size_t icmp_offset) noexcept {
  const std::span<const std::byte> message = packet.subspan(icmp_offset);
  std::uint64_t total = accumulate_fastest(message) + without(load_native<std::uint16_t>(&message[2]));
  if (load8(packet.data()) >> 4 == 6) total += pseudo_header(packet, Family::v6, Protocol::icmp6, message.size());
  return static_cast<std::uint16_t>(~fold(total));
}

std::uint16_t pending_udp_checksum(const PacketView& packet) noexcept {
  return fold(pseudo_header(packet, load_be16(&packet.bytes[packet.l4_offset + 4])));
}

}  // namespace limpet::net
