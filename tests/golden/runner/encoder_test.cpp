// The encoder of the golden packets is compared with scapy's packets (vectors.txt, made by vectors.py), and the reader
// with what it must refuse.
#include <fstream>

#include <gtest/gtest.h>

#include "tests/golden/runner/describe.h"
#include "tests/golden/runner/packet_text.h"
#include "tests/support/hex.h"

namespace limpet::golden {
namespace {

Bytes bytes_of(const std::string& text, bool v4 = true) {
  Words words(text);
  const PacketSpec packet = read_packet(words, Cast(v4));
  words.end();
  return encode(packet);
}

TEST(GoldenEncoder, MakesWhatScapyMakes) {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/golden/runner/vectors.txt");
  std::size_t vectors = 0;
  for (std::string text, hex; std::getline(file, text) && std::getline(file, hex); ++vectors) {
    const Bytes expected = test::from_hex(hex), made = bytes_of(text.substr(5), text.starts_with("ipv4"));
    EXPECT_EQ(made, expected) << text << '\n' << describe_difference(expected, made);
  }
  EXPECT_EQ(vectors, 24u);
}

// RFC 1624: HC' = ~(~HC + ~m + m'), by hand from a field that is one too low in ~HC's high byte.
TEST(GoldenEncoder, KeepsAWrongChecksumEquallyWrong) {
  const auto field = [](const std::string& port, const std::string& checksum) {
    const Bytes packet = bytes_of("udp client:40000 > vip:" + port + " " + checksum);
    return std::to_integer<unsigned>(packet[26]) << 8 | std::to_integer<unsigned>(packet[27]);
  };
  const auto updated = [](unsigned old, unsigned from, unsigned to) {
    unsigned sum = (~old & 0xffff) + (~from & 0xffff) + to;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    return ~sum & 0xffff;
  };
  EXPECT_NE(field("53", "checksum bad"), field("53", ""));
  EXPECT_EQ(updated(field("53", ""), 53, 8053), field("8053", ""));
  EXPECT_EQ(updated(field("53", "checksum bad"), 53, 8053), field("8053", "checksum bad"));
}

TEST(GoldenReader, RefusesWhatItDoesNotUnderstand) {
  for (const char* const text : {"udp client:1 > vip", "udp client:1 vip:2", "udp nobody:1 > vip:2",
                                 "udp client:1 > vip:2 SYN", "tcp client:1 > vip:2 SYN|ACL", "udp client:1 > vip:2 ttl",
                                 "udp client:1 > vip:2 \"no end", "icmp client > vip port-unreachable [udp a:1 > b:2",
                                 "udp client:1 > vip:2 hop-by-hop 8", "udp client:1x > vip:2"}) {
    EXPECT_THROW(bytes_of(text), SyntaxError) << text;
  }
}

TEST(GoldenReader, TakesBracketsForAddressesAndForQuotations) {
  EXPECT_EQ(bytes_of("icmp client > vip port-unreachable [udp [fd00::1]:1 > [fd00::2]:2]", false),
            bytes_of("icmp client > vip port-unreachable [ udp [fd00::1]:1 > [fd00::2]:2 ] # so", false));
}

TEST(GoldenDescription, ShowsTheBytesThatDiffer) {
  const std::string text =
      describe_difference(bytes_of("udp client:1 > vip:2 \"a\""), bytes_of("udp client:1 > vip:3 \"a\""));
  EXPECT_NE(text.find("expected  udp 198.51.100.7:1 > 10.96.0.10:2, ttl 64, 29 bytes"), std::string::npos) << text;
  EXPECT_NE(text.find("came      udp 198.51.100.7:1 > 10.96.0.10:3, ttl 64, 29 bytes"), std::string::npos) << text;
  EXPECT_NE(text.find("                  " + std::string(7 * 3, ' ') + "^^          ^^ "), std::string::npos) << text;
}

}  // namespace
}  // namespace limpet::golden
