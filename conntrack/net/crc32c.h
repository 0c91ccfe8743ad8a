// crc32c.h: SCTP's checksum (RFC 9260 appendix A; Castagnoli's polynomial, reflected 0x82f63b78).
//
//   crc32c        the processor's instruction (SSE4.2) where present, asked for at each call: a load and a test
//   crc32c_plain  a table of 256 words: the same function, for any machine, and the twin that tests compare with
//
// CRC is linear: changing some bytes changes the CRC by the CRC of the difference, advanced over the bytes that follow.
// So a header can be rewritten without reading the payload, and a wrong checksum stays wrong. Advancing over n bytes is
// multiplying by x^8n modulo the polynomial: one product a hexadecimal digit of n that is not 0, from tables.
// Values are the CRC as a number; SCTP sends it least significant byte first. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace limpet::net {

std::uint32_t crc32c(std::span<const std::byte> bytes) noexcept;
std::uint32_t crc32c_plain(std::span<const std::byte> bytes) noexcept;

/// What to XOR the CRC with when the 32 bits at some place, as they lie in memory, change by `difference` (old XOR new)
/// and `following` bytes come after them. O(log following).
std::uint32_t crc32c_change(std::uint32_t difference, std::size_t following) noexcept;

}  // namespace limpet::net
