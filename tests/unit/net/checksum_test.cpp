#include "conntrack/net/checksum.h"

#include <gtest/gtest.h>

#include "tests/support/hex.h"
#include "tests/support/packet_builder.h"

namespace limpet::net {
namespace {

using test::Bytes;
using test::from_hex;
using test::PacketBuilder;

/// A 16-bit value as one reads it in the packet.
unsigned big_endian(std::uint16_t native) {
  return network_order(native);
}
std::uint16_t in_memory(unsigned big_endian_value) {
  return network_order(static_cast<std::uint16_t>(big_endian_value));
}

TEST(Sum, KnownAnswers) {
  struct Case {
    const char* name;
    const char* bytes;
    unsigned sum;
  };
  constexpr Case kCases[] = {
      {"RFC 1071 section 3", "00 01 f2 03 f4 f5 f6 f7", 0xddf2},
      {"nothing", "", 0x0000},
      {"one byte is the high half of a word", "12", 0x1200},
      {"three bytes", "12 34 56", 0x1234 + 0x5600},
      {"carry comes round", "ff ff 00 01", 0x0001},
      {"carry comes round twice", "ff ff ff ff ff ff", 0xffff},
      {"zeros", "00 00 00 00", 0x0000},
      {"five bytes", "80 00 80 00 01", 0x0101},  // 8000 + 8000 = 1 0000 -> 0001; + 0100
  };
  for (const auto& [name, bytes, expected] : kCases) EXPECT_EQ(big_endian(sum(from_hex(bytes))), expected) << name;
}

// Long enough for every vector width and remainder, at every alignment, against the one-word-at-a-time sum.
TEST(Sum, AgreesWithThePlainSumAtEveryLengthAndAlignment) {
  Bytes bytes(700);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 167 + 13);
  for (std::size_t start = 0; start < 8; ++start)
    for (std::size_t size = 0; size + start <= bytes.size(); ++size) {
      const auto part = std::span<const std::byte>(bytes).subspan(start, size);
      ASSERT_EQ(big_endian(sum(part)), test::wire::ones_sum(part)) << start << '+' << size;
    }
}

// 65,535 bytes of ones: 32,767 words 0xffff, which is zero in its second form, and a last byte 0xff00.
TEST(Sum, DoesNotOverflow) {
  EXPECT_EQ(big_endian(sum(Bytes(65535, std::byte{0xff}))), 0xff00U);
}

// RFC 1624 section 4: HC = dd2f, m = 5555 becomes m' = 3285. The right answer is 0000; eqn. 2 of RFC 1141 gives ffff.
TEST(ChecksumDelta, Rfc1624Example) {
  ChecksumDelta delta;
  delta.replace(from_hex("55 55"), from_hex("32 85"));
  EXPECT_EQ(big_endian(delta.apply(in_memory(0xdd2f))), 0x0000U);
}

TEST(ChecksumDelta, KnownAnswers) {
  struct Case {
    const char* name;
    const char *from, *to;
    unsigned before, after;
  };
  constexpr Case kCases[] = {
      {"no change of a word", "12 34", "12 34", 0x1111, 0x1111},
      {"a larger word, a smaller checksum", "00 01", "00 03", 0x1111, 0x110f},
      {"borrow comes round", "00 00", "00 01", 0x0000, 0xfffe},  // ~(ffff + ffff + 0001) = ~(ffff + 1) = ~0001
      {"six bytes", "00 01 00 02 00 03", "00 02 00 04 00 06", 0x1111, 0x110b},
      {"sixteen bytes", "00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00",
       "00 01 00 01 00 01 00 01 00 01 00 01 00 01 00 01", 0x1111, 0x1109},
      {"words that swap", "12 34 56 78", "56 78 12 34", 0xabcd, 0xabcd},
  };
  for (const auto& [name, from, to, before, after] : kCases) {
    ChecksumDelta delta;
    delta.replace(from_hex(from), from_hex(to));
    EXPECT_EQ(big_endian(delta.apply(in_memory(before))), after) << name;
  }
}

TEST(ChecksumDelta, WithoutChangesEveryChecksumStays) {
  for (const unsigned checksum : {0x0000U, 0x0001U, 0xfffeU, 0xffffU})
    EXPECT_EQ(big_endian(ChecksumDelta().apply(in_memory(checksum))), checksum);
}

TEST(ChecksumDelta, ChangesAddUp) {
  ChecksumDelta apart, together;
  apart.replace(from_hex("00 01"), from_hex("12 34"));
  apart.replace_word(in_memory(0x0002), in_memory(0x5678));
  together.replace(from_hex("00 01 00 02"), from_hex("12 34 56 78"));
  EXPECT_EQ(apart.apply(0x4321), together.apply(0x4321));
}

TEST(Ipv4HeaderChecksum, KnownAnswers) {
  struct Case {
    const char* name;
    const char* header;
    unsigned checksum;
  };
  constexpr Case kCases[] = {
      // The example of the article "Internet checksum" in Wikipedia: the words add up to 2 479c, folded 479e.
      {"Wikipedia", "45 00 00 73 00 00 40 00 40 11 00 00 c0 a8 00 01 c0 a8 00 c7", 0xb861},
      {"the field counts as zero", "45 00 00 73 00 00 40 00 40 11 ab cd c0 a8 00 01 c0 a8 00 c7", 0xb861},
      // The same with four NOPs and IHL 6: 2 479c + 0100 + 0101 + 0101 = 2 4a9e -> 4aa0.
      {"options", "46 00 00 73 00 00 40 00 40 11 00 00 c0 a8 00 01 c0 a8 00 c7 01 01 01 01", 0xb55f},
  };
  for (const auto& [name, header, checksum] : kCases)
    EXPECT_EQ(big_endian(ipv4_header_checksum(from_hex(header))), checksum) << name;
}

unsigned full(Bytes packet) {
  PacketView view;
  EXPECT_EQ(parse(packet, view), ParseError::none);
  return big_endian(full_l4_checksum(view));
}

TEST(FullL4Checksum, KnownAnswers) {
  struct Case {
    const char* name;
    const char* packet;
    unsigned checksum;
  };
  constexpr Case kCases[] = {
      // Pseudo-header 0a00+0001+0a60+0001+0006+0014 = 147c; TCP 1092+0050+0001+5002+faf0 = 1 5bd5; together 1 7051 ->
      // 7052.
      {"TCP over IPv4",
       "45 00 00 28 00 00 40 00 40 06 26 6f 0a 00 00 01 0a 60 00 01"
       "10 92 00 50 00 00 00 01 00 00 00 00 50 02 fa f0 00 00 00 00",
       0x8fad},
      // fd00+0001+fd00+0002+0014+0006 = 1 fa1d; TCP 1 5bd5; together 3 55f2 -> 55f5.
      {"TCP over IPv6",
       "60 00 00 00 00 14 06 40 fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 01"
       "fd 00 00 00 00 00 00 00 00 00 00 00 00 00 00 02"
       "10 92 00 50 00 00 00 01 00 00 00 00 50 02 fa f0 ff ff 00 00",
       0xaa0a},
      // Odd payload "hello". 0a00+0001+0a60+000a+0011+000d = 1489; UDP 1092+0035+000d+6865+6c6c+6f00 = 1 54a5; 1 692e
      // -> 692f.
      {"UDP over IPv4, odd length",
       "45 00 00 21 00 00 40 00 40 11 00 00 0a 00 00 01 0a 60 00 0a 10 92 00 35 00 0d 12 34 68 65 6c 6c 6f", 0x96d0},
      // UDP length 10 of 13 bytes: the checksum knows only "he". 1489 - 3 = 1486; 1092+0035+000a+6865 = 7936; 8dbc.
      {"UDP shorter than IP says",
       "45 00 00 21 00 00 40 00 40 11 00 00 0a 00 00 01 0a 60 00 0a 10 92 00 35 00 0a 00 00 68 65 6c 6c 6f", 0x7243},
      // 0a00+0001+0a00+0002+0011+000a = 141e; UDP 0001+0002+000a+ebd4 = ebe1; together ffff: the checksum 0 is sent as
      // ffff.
      {"UDP whose checksum is zero",
       "45 00 00 1e 00 00 00 00 40 11 00 00 0a 00 00 01 0a 00 00 02 00 01 00 02 00 0a 00 00 eb d4", 0xffff},
      // As TCP 0a00+0001+0a00+0002+0006+0014 = 141d, 0001+0002+5000+9bdf = ebe2; together ffff: TCP sends 0.
      {"TCP whose checksum is zero",
       "45 00 00 28 00 00 00 00 40 06 00 00 0a 00 00 01 0a 00 00 02"
       "00 01 00 02 00 00 00 00 00 00 00 00 50 00 9b df 00 00 00 00",
       0x0000},
  };
  for (const auto& [name, packet, checksum] : kCases) EXPECT_EQ(full(from_hex(packet)), checksum) << name;
}

TEST(FullL4Checksum, CompletesAPseudoHeaderSum) {
  for (const bool is_tcp : {true, false}) {
    PacketBuilder builder = PacketBuilder().v4("10.0.0.1", "10.96.0.1").payload("hello world");
    is_tcp ? builder.tcp(1, 2) : builder.udp(1, 2);
    const Bytes complete = builder.build();
    EXPECT_EQ(full(builder.partial_checksum().build()), test::wire::get16(complete, is_tcp ? 36 : 26));
  }
}

TEST(L4ChecksumOffset, ByProtocol) {
  Bytes tcp = PacketBuilder().v4("10.0.0.1", "10.0.0.2").ip_options(8).tcp(1, 2).build();
  Bytes udp = PacketBuilder().v6("::1", "::2").extension(0, 16).udp(1, 2).build();
  PacketView view;
  ASSERT_EQ(parse(tcp, view), ParseError::none);
  EXPECT_EQ(l4_checksum_offset(view), 28U + 16);
  ASSERT_EQ(parse(udp, view), ParseError::none);
  EXPECT_EQ(l4_checksum_offset(view), 56U + 6);
}

}  // namespace
}  // namespace limpet::net
