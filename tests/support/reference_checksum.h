// reference_checksum.h: the checksums of whole packets, the way their RFCs define them, for tests to judge by.
//
//   ones_sum      RFC 1071 section 1, one big-endian word at a time
//   crc32c_bits   RFC 9260 appendix A, one bit at a time
//   checksums_ok  what a receiver verifies: IPv4 header, TCP, UDP, UDP-Lite, SCTP, ICMP, ICMPv6
//
// Shares no code with conntrack/net. Slow on purpose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace limpet::test {

using Bytes = std::vector<std::byte>;

namespace wire {

inline void put8(Bytes& out, unsigned value) {
  out.push_back(static_cast<std::byte>(value & 0xff));
}
inline void put16(Bytes& out, unsigned value) {
  put8(out, value >> 8), put8(out, value);
}
inline void put32(Bytes& out, std::uint32_t value) {
  put16(out, value >> 16), put16(out, value & 0xffff);
}
inline void append(Bytes& out, std::span<const std::byte> more) {
  out.insert(out.end(), more.begin(), more.end());
}
inline unsigned get8(std::span<const std::byte> in, std::size_t at) {
  return std::to_integer<unsigned>(in[at]);
}
inline unsigned get16(std::span<const std::byte> in, std::size_t at) {
  return get8(in, at) << 8 | get8(in, at + 1);
}
inline std::uint32_t get32(std::span<const std::byte> in, std::size_t at) {
  return static_cast<std::uint32_t>(get16(in, at)) << 16 | get16(in, at + 2);
}
inline void set16(std::span<std::byte> in, std::size_t at, unsigned value) {
  in[at] = static_cast<std::byte>(value >> 8 & 0xff);
  in[at + 1] = static_cast<std::byte>(value & 0xff);
}

inline void set32(std::span<std::byte> in, std::size_t at, std::uint32_t value) {
  set16(in, at, value >> 16), set16(in, at + 2, value & 0xffff);
}

/// One's-complement sum, RFC 1071 section 1; an odd last byte counts as the high half of a word.
inline unsigned ones_sum(std::span<const std::byte> bytes) {
  unsigned sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? get8(bytes, i) << 8 : get8(bytes, i);
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return sum;
}

/// RFC 793 and RFC 8200 section 8.1: addresses, transport length, protocol.
inline Bytes pseudo_header(std::span<const std::byte> source, std::span<const std::byte> destination,
                           std::size_t length, unsigned protocol) {
  Bytes out;
  out.reserve(source.size() + destination.size() + 8);
  append(out, source), append(out, destination);
  put32(out, static_cast<std::uint32_t>(length));
  put32(out, protocol);  // IPv4's order and widths differ, the sum does not
  return out;
}

inline unsigned pseudo_sum(std::span<const std::byte> source, std::span<const std::byte> destination,
                           std::size_t length, unsigned protocol) {
  return ones_sum(pseudo_header(source, destination, length, protocol));
}

/// CRC32c: the message's bits, each byte's lowest first, divided by Castagnoli's polynomial 0x1edc6f41 (reversed:
/// 0x82f63b78); the register begins as ones and is inverted at the end.
inline std::uint32_t crc32c_bits(std::span<const std::byte> bytes) {
  std::uint32_t crc = 0xffffffff;
  for (const std::byte byte : bytes) {
    for (unsigned bit = 0; bit < 8; ++bit) {
      const bool out = (crc ^ std::to_integer<unsigned>(byte) >> bit) & 1;
      crc = out ? crc >> 1 ^ 0x82f63b78 : crc >> 1;
    }
  }
  return ~crc;
}

/// SCTP's checksum of a packet whose field at offset 8 counts as zero, and as the field would be read big-endian: the
/// CRC is sent least significant byte first.
inline std::uint32_t sctp_checksum(std::span<const std::byte> sctp) {
  Bytes zeroed;
  zeroed.reserve(sctp.size());
  append(zeroed, sctp.first(8)), put32(zeroed, 0), append(zeroed, sctp.subspan(12));
  const std::uint32_t crc = crc32c_bits(zeroed);
  return crc << 24 | (crc & 0xff00) << 8 | (crc >> 8 & 0xff00) | crc >> 24;
}

}  // namespace wire

/// A packet's transport: which, and where it begins. IPv6 extension headers are walked.
struct Transport {
  unsigned protocol;
  std::size_t offset;
};
inline Transport transport_of(std::span<const std::byte> packet) {
  if (wire::get8(packet, 0) >> 4 == 4) return {wire::get8(packet, 9), (wire::get8(packet, 0) & 0xfU) * 4};
  Transport at{wire::get8(packet, 6), 40};
  while (at.protocol == 0 || at.protocol == 43 || at.protocol == 44 || at.protocol == 51 || at.protocol == 60) {
    const unsigned units = wire::get8(packet, at.offset + 1);
    const std::size_t length = at.protocol == 44 ? 8 : at.protocol == 51 ? (units + 2) * 4 : (units + 1) * 8;
    at.protocol = wire::get8(packet, at.offset);
    at.offset += length;
  }
  return at;
}

/// Is the checksum right of `covered`, the first bytes of a transport of `length` bytes?
inline bool sum_with_pseudo_header_ok(std::span<const std::byte> packet, std::span<const std::byte> covered,
                                      std::size_t length, unsigned protocol) {
  const bool is_v4 = wire::get8(packet, 0) >> 4 == 4;
  const std::size_t at = is_v4 ? 12 : 8, size = is_v4 ? 4 : 16;
  // Of an even length, so it can be summed by itself.
  const unsigned pseudo = wire::pseudo_sum(packet.subspan(at, size), packet.subspan(at + size, size), length, protocol);
  const unsigned sum = pseudo + wire::ones_sum(covered);
  return (sum & 0xffff) + (sum >> 16) == 0xffff;
}

/// Is the transport checksum of a whole, well-formed packet right, as a receiver verifies it (RFC 1122 sections 3.2.2,
/// 4.1.3.4, 4.2.2.7; RFC 8200 section 8.1; RFC 3828 section 3.1; RFC 9260 section 6.8; RFC 4443 section 2.3)?
inline bool transport_checksum_ok(std::span<const std::byte> packet) {
  constexpr unsigned kIcmp = 1, kUdp = 17, kSctp = 132, kUdpLite = 136;
  const auto [protocol, offset] = transport_of(packet);
  const std::span<const std::byte> transport = packet.subspan(offset);
  if (protocol == kIcmp) return wire::ones_sum(transport) == 0xffff;
  if (protocol == kSctp) return wire::get32(transport, 8) == wire::sctp_checksum(transport);
  if (protocol == kUdp) {
    const std::size_t length = wire::get16(transport, 4);
    if (wire::get16(transport, 6) == 0) return wire::get8(packet, 0) >> 4 == 4;
    return sum_with_pseudo_header_ok(packet, transport.first(length), length, protocol);
  }
  if (protocol == kUdpLite) {
    const std::size_t coverage = wire::get16(transport, 4) == 0 ? transport.size() : wire::get16(transport, 4);
    if (wire::get16(transport, 6) == 0) return false;
    return sum_with_pseudo_header_ok(packet, transport.first(coverage), transport.size(), protocol);
  }
  return sum_with_pseudo_header_ok(packet, transport, transport.size(), protocol);
}

/// IPv4: is the header's checksum right? IPv6 has none.
inline bool header_checksum_ok(std::span<const std::byte> packet) {
  if (wire::get8(packet, 0) >> 4 == 6) return true;
  return wire::ones_sum(packet.first((wire::get8(packet, 0) & 0xfU) * 4)) == 0xffff;
}

inline bool checksums_ok(std::span<const std::byte> packet) {
  return header_checksum_ok(packet) && transport_checksum_ok(packet);
}

}  // namespace limpet::test
