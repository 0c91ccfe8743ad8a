// checksum.h: the Internet checksum.
//
//   sum       one's-complement sum of 16-bit words, folded to 16 bits (RFC 1071)
//   update    adjust a checksum field for changed bytes without reading the rest: HC' = ~(~HC + ~m + m') (RFC 1624, eqn. 3)
//   full      the transport checksum over pseudo-header, header and payload (RFC 793, 768, 8200 section 8.1)
//
// Sums are computed on words in memory order, whatever the byte order of the machine (RFC 1071 section 2B), so a result is
// stored with memcpy and never byte-swapped. Pure functions; O(n); no allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "conntrack/net/packet.h"

namespace limpet::net {

/// A one's-complement accumulator over words in memory order.
class ChecksumDelta {
 public:
  /// Account for `from` becoming `to`. Both of the same even length, at an even offset of the checksummed data.
  void replace(std::span<const std::byte> from, std::span<const std::byte> to) noexcept;
  /// The field `checksum` (as read from the packet with memcpy) after the changes.
  std::uint16_t apply(std::uint16_t checksum) const noexcept;

 private:
  std::uint64_t sum_ = 0;
};

/// Folded one's-complement sum of `bytes` (an odd last byte is padded with zero), memory order, not inverted.
std::uint16_t sum(std::span<const std::byte> bytes) noexcept;

/// Checksum of an IPv4 header, its own checksum field counted as zero: the value to store there. The header is valid.
std::uint16_t ipv4_header_checksum(std::span<const std::byte> header) noexcept;

/// The TCP or UDP checksum of the whole packet, its own field counted as zero: the value to store there. A UDP result of
/// zero is returned as 0xffff (RFC 768).
std::uint16_t full_l4_checksum(const PacketView& packet) noexcept;

/// Offset of the checksum field from the start of the packet.
std::size_t l4_checksum_offset(const PacketView& packet) noexcept;

}  // namespace limpet::net
