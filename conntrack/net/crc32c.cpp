#include "conntrack/net/crc32c.h"

#include <array>

#include "conntrack/net/wire.h"

namespace limpet::net {

namespace {

// Polynomials over GF(2) in the CRC's own notation: bit 31 is the coefficient of x^0, bit 0 that of x^31.
constexpr std::uint32_t kPolynomial = 0x82f63b78;
constexpr std::uint32_t kOne = 0x80000000;

/// p times x, modulo the CRC's polynomial.
constexpr std::uint32_t times_x(std::uint32_t p) noexcept {
  return p >> 1 ^ (kPolynomial & (0 - (p & 1)));
}

/// a times b, modulo the CRC's polynomial.
constexpr std::uint32_t multiply(std::uint32_t a, std::uint32_t b) noexcept {
  std::uint32_t product = 0;
  for (unsigned power = 0; power < 32; ++power) {
    product ^= b & (0 - (a >> 31));
    a <<= 1;
    b = times_x(b);
  }
  return product;
}

/// What a byte does to the register.
constexpr auto kByteTable = [] {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t byte = 0; byte < table.size(); ++byte) {
    std::uint32_t crc = byte;
    for (unsigned bit = 0; bit < 8; ++bit) crc = times_x(crc);
    table[byte] = crc;
  }
  return table;
}();

constexpr unsigned kDigits = 2 * sizeof(std::size_t);  // hexadecimal digits of a length

/// kPowers[k][d] = x^(8 · d · 16^k): what d · 16^k bytes do to a CRC before them.
constexpr auto kPowers = [] {
  std::array<std::array<std::uint32_t, 16>, kDigits> powers{};
  std::uint32_t step = kOne >> 8;  // x^8, one byte
  for (auto& of_digit : powers) {
    std::uint32_t power = kOne;
    for (std::uint32_t& entry : of_digit) {
      entry = power;
      power = multiply(power, step);
    }
    step = power;
  }
  return powers;
}();

#if defined(__x86_64__)
[[gnu::target("sse4.2")]] std::uint32_t crc32c_sse42(std::span<const std::byte> bytes) noexcept {
  std::uint64_t crc = 0xffffffff;
  std::size_t at = 0;
  for (; at + 8 <= bytes.size(); at += 8)
    crc = __builtin_ia32_crc32di(crc, load_native<std::uint64_t>(bytes.data() + at));
  auto low = static_cast<std::uint32_t>(crc);
  for (; at < bytes.size(); ++at) low = __builtin_ia32_crc32qi(low, load8(bytes.data() + at));
  return ~low;
}
#endif

}  // namespace

std::uint32_t crc32c_plain(std::span<const std::byte> bytes) noexcept {
  std::uint32_t crc = 0xffffffff;
  for (const std::byte byte : bytes) crc = crc >> 8 ^ kByteTable[(crc ^ std::to_integer<std::uint32_t>(byte)) & 0xff];
  return ~crc;
}

std::uint32_t crc32c(std::span<const std::byte> bytes) noexcept {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("sse4.2")) return crc32c_sse42(bytes);  // a load and a test, well predicted
#endif
  return crc32c_plain(bytes);
}

std::uint32_t crc32c_change(std::uint32_t difference, std::size_t following) noexcept {
  // The word is itself followed by no register: it counts times x^32, as four bytes more.
  std::uint32_t change = little_endian(difference);
  std::size_t bytes = following + sizeof difference;
  for (unsigned k = 0; bytes != 0; ++k, bytes >>= 4) {
    if (const std::size_t digit = bytes & 0xf; digit != 0) change = multiply(change, kPowers[k][digit]);
  }
  return change;
}

}  // namespace limpet::net
