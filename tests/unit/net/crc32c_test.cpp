#include "conntrack/net/crc32c.h"

#include <string_view>

#include <gtest/gtest.h>

#include "conntrack/net/wire.h"
#include "tests/support/hex.h"
#include "tests/support/reference_checksum.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::from_hex;

Bytes counting(std::size_t size, unsigned first, unsigned step) {
  Bytes bytes(size);
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(first + step * i);
  return bytes;
}

// RFC 3720 appendix B.4, which prints the CRC in the order in which it is sent, least significant byte first.
TEST(Crc32c, Rfc3720Vectors) {
  struct Case {
    const char* name;
    Bytes bytes;
    std::uint32_t crc;
  };
  const std::string_view digits = "123456789";
  const auto check = std::as_bytes(std::span(digits));
  const Case kCases[] = {
      {"32 bytes of zeros", Bytes(32), 0x8a9136aa},
      {"32 bytes of ones", Bytes(32, std::byte{0xff}), 0x62a8ab43},
      {"32 bytes incrementing 00..1f", counting(32, 0, 1), 0x46dd794e},
      {"32 bytes decrementing 1f..00", counting(32, 0x1f, 0xff), 0x113fdb5c},
      {"an iSCSI SCSI Read (10) command PDU",
       from_hex("01 c0 00 00 00 00 00 00 00 00 00 00 00 00 00 00 14 00 00 00 00 00 04 00"
                "00 00 00 14 00 00 00 18 28 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00"),
       0xd9963a56},
      {"the check value of CRC catalogues", {check.begin(), check.end()}, 0xe3069283},
      {"nothing", {}, 0},
  };
  for (const auto& [name, bytes, crc] : kCases) {
    EXPECT_EQ(crc32c(bytes), crc) << name;
    EXPECT_EQ(crc32c_plain(bytes), crc) << name;
    EXPECT_EQ(test::wire::crc32c_bits(bytes), crc) << name;
  }
}

TEST(Crc32c, InstructionTableAndBitsAgreeAtEveryLengthAndAlignment) {
  const Bytes bytes = counting(300, 13, 167);
  for (std::size_t start = 0; start < 8; ++start)
    for (std::size_t size = 0; start + size <= bytes.size(); ++size) {
      const auto part = std::span<const std::byte>(bytes).subspan(start, size);
      const std::uint32_t expected = test::wire::crc32c_bits(part);
      ASSERT_EQ(crc32c(part), expected) << start << '+' << size;
      ASSERT_EQ(crc32c_plain(part), expected) << start << '+' << size;
    }
}

// Against the CRC computed anew, for a word at every place of packets of odd and even lengths.
TEST(Crc32cChange, IsWhatComputingAnewGives) {
  for (const std::size_t size : {4, 5, 12, 27, 1000, 65535}) {
    const Bytes before = counting(size, 7, 91);
    const std::size_t step = size > 1000 ? 997 : 1;
    for (std::size_t at = 0; at + 4 <= size; at += step) {
      Bytes after = before;
      test::wire::set32(after, at, test::wire::get32(after, at) * 2654435761U + 1);
      const auto difference = load_native<std::uint32_t>(&before[at]) ^ load_native<std::uint32_t>(&after[at]);
      ASSERT_EQ(crc32c(before) ^ crc32c_change(difference, size - at - 4), crc32c(after)) << size << ' ' << at;
    }
  }
}

TEST(Crc32cChange, NothingChangedChangesNothing) {
  for (const std::size_t following : {0, 1, 1500}) EXPECT_EQ(crc32c_change(0, following), 0U);
}

}  // namespace
}  // namespace limpet::net
