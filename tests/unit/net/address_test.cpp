#include "conntrack/net/address.h"

#include <gtest/gtest.h>

namespace limpet::net {
namespace {

struct Text {
  std::string_view text;
  std::string_view canonical;  // empty: must be refused
};

TEST(Address, ParsesAndPrints) {
  constexpr Text kCases[] = {
      {"0.0.0.0", "0.0.0.0"},
      {"10.28.8.5", "10.28.8.5"},
      {"255.255.255.255", "255.255.255.255"},
      {"10.28.8", ""},
      {"10.28.8.5.1", ""},
      {"10.28.8.", ""},
      {".28.8.5", ""},
      {"10.28.8.256", ""},
      {"10.28.8.05", ""},  // octal to some
      {"10.28.8.-5", ""},
      {"10.28.8.+5", ""},
      {" 10.28.8.5", ""},
      {"10.28.8.5 ", ""},
      {"10.28.8.5/32", ""},
      {"0x0a.1.1.1", ""},
      {"", ""},
      {"localhost", ""},
      // RFC 5952 section 4: lower case, no leading zeros, the longest run of zeros shortened, not a single group.
      {"::", "::"},
      {"::1", "::1"},
      {"2001:0DB8:0:0:0:0:2:1", "2001:db8::2:1"},
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
      {"::ffff:192.0.2.1", "::ffff:192.0.2.1"},
      {"fe80::1%eth0", ""},
      {"[::1]", ""},
      {"::1::", ""},
      {"1:2:3:4:5:6:7", ""},
      {"1:2:3:4:5:6:7:8:9", ""},
      {"12345::", ""},
      {"0000:0000:0000:0000:0000:0000:255.255.255.255.255.255.255.255", ""},  // longer than any address
  };
  for (const auto& [text, canonical] : kCases) {
    const auto address = Address::parse(text);
    EXPECT_EQ(address ? address->to_string() : "", canonical) << '"' << text << '"';
  }
}

TEST(Address, AnEmbeddedZeroByteIsNotTheEndOfTheText) {
  EXPECT_FALSE(Address::parse(std::string_view("::1\0::", 6)));
  EXPECT_FALSE(Address::parse(std::string_view("10.0.0.1\0", 9)));
}

TEST(Address, WireBytesAreInNetworkOrder) {
  constexpr std::byte kWire[] = {std::byte{10}, std::byte{28}, std::byte{8}, std::byte{5}};
  const Address address = Address::from_wire(Family::v4, kWire);
  EXPECT_EQ(address.to_string(), "10.28.8.5");
  EXPECT_EQ(address, Address::from_v4(0x0a1c0805));
  EXPECT_TRUE(std::ranges::equal(address.bytes(), kWire));
  EXPECT_EQ(address.words()[1], 0U) << "storage beyond an IPv4 address is zero: words() are hashed and compared";
}

TEST(Address, AMappedAddressIsNotTheIpv4Address) {
  EXPECT_NE(*Address::parse("::ffff:10.0.0.1"), *Address::parse("10.0.0.1"));
  EXPECT_NE(*Address::parse("::"), Address()) << "nor is :: the address 0.0.0.0";
}

TEST(Address, OrdersByFamilyThenValue) {
  constexpr std::string_view kAscending[] = {"0.0.0.0",   "9.255.0.0", "10.0.0.1", "10.0.0.2",
                                             "200.0.0.0", "::",        "::1",      "fd00::"};
  for (std::size_t i = 0; i + 1 < std::size(kAscending); ++i)
    EXPECT_LT(*Address::parse(kAscending[i]), *Address::parse(kAscending[i + 1])) << kAscending[i];
}

TEST(Address, MaskKeepsTheFirstBits) {
  struct Case {
    std::string_view address;
    unsigned length;
    std::string_view masked;
  };
  constexpr Case kCases[] = {
      {"255.255.255.255", 0, "0.0.0.0"},      {"255.255.255.255", 1, "128.0.0.0"},
      {"255.255.255.255", 8, "255.0.0.0"},    {"255.255.255.255", 25, "255.255.255.128"},
      {"10.28.8.5", 32, "10.28.8.5"},         {"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 0, "::"},
      {"ffff:ffff::ffff", 17, "ffff:8000::"}, {"fd00::1234", 128, "fd00::1234"},
      {"fd00::1237", 125, "fd00::1230"},
  };
  for (const auto& [address, length, masked] : kCases)
    EXPECT_EQ(Address::parse(address)->masked(length).to_string(), masked) << address << '/' << length;
}

TEST(Address, Kinds) {
  struct Case {
    std::string_view address;
    bool unspecified, loopback;
  };
  constexpr Case kCases[] = {
      {"0.0.0.0", true, false},           {"::", true, false},   {"127.0.0.1", false, true},
      {"127.255.255.255", false, true},   {"::1", false, true},  {"128.0.0.1", false, false},
      {"0.0.0.1", false, false},          {"::2", false, false}, {"1::1", false, false},
      {"::ffff:127.0.0.1", false, false},
  };
  for (const auto& [text, unspecified, loopback] : kCases) {
    EXPECT_EQ(Address::parse(text)->is_unspecified(), unspecified) << text;
    EXPECT_EQ(Address::parse(text)->is_loopback(), loopback) << text;
  }
}

TEST(Prefix, ParsesAndPrints) {
  constexpr Text kCases[] = {
      {"10.28.0.0/14", "10.28.0.0/14"},
      {"10.31.255.255/14", "10.28.0.0/14"},
      {"10.0.0.1", "10.0.0.1/32"},
      {"0.0.0.0/0", "0.0.0.0/0"},
      {"fd00::1/64", "fd00::/64"},
      {"::1", "::1/128"},
      {"10.0.0.0/33", ""},
      {"fd00::/129", ""},
      {"10.0.0.0/", ""},
      {"10.0.0.0/08", ""},
      {"10.0.0.0/-1", ""},
      {"/8", ""},
      {"10.0.0.0/8/8", ""},
      {"10.0.0.0/255.0.0.0", ""},
      {"10.0/8", ""},
  };
  for (const auto& [text, canonical] : kCases) {
    const auto prefix = Prefix::parse(text);
    EXPECT_EQ(prefix ? prefix->to_string() : "", canonical) << '"' << text << '"';
  }
}

TEST(Prefix, Contains) {
  struct Case {
    std::string_view prefix, address;
    bool inside;
  };
  constexpr Case kCases[] = {
      {"10.28.0.0/14", "10.28.0.0", true},   {"10.28.0.0/14", "10.31.255.255", true},
      {"10.28.0.0/14", "10.32.0.0", false},  {"10.28.0.0/14", "10.27.255.255", false},
      {"0.0.0.0/0", "203.0.113.7", true},    {"0.0.0.0/0", "::", false},
      {"::/0", "10.0.0.1", false},           {"::/0", "::ffff:10.0.0.1", true},
      {"fd00::/64", "fd00::ffff:1:1", true}, {"fd00::/64", "fd00:0:0:1::", false},
  };
  for (const auto& [prefix, address, inside] : kCases)
    EXPECT_EQ(Prefix::parse(prefix)->contains(*Address::parse(address)), inside) << prefix << ' ' << address;
}

TEST(AddressPort, ParsesAndPrints) {
  constexpr Text kCases[] = {
      {"10.0.0.1:80", "10.0.0.1:80"},
      {"[fd00::1]:65535", "[fd00::1]:65535"},
      {"0.0.0.0:0", "0.0.0.0:0"},
      {"10.0.0.1", ""},
      {"10.0.0.1:", ""},
      {"10.0.0.1:65536", ""},
      {"10.0.0.1:080", ""},
      {"10.0.0.1:-1", ""},
      {"fd00::1:80", ""},
      {"[fd00::1]", ""},
      {"[fd00::1]80", ""},
      {"[10.0.0.1]:80", ""},
      {"[fd00::1:80", ""},
      {"fd00::1]:80", ""},
      {":80", ""},
      {"[]:80", ""},
      {"[:80", ""},
      {"", ""},
  };
  for (const auto& [text, canonical] : kCases) {
    const auto endpoint = AddressPort::parse(text);
    EXPECT_EQ(endpoint ? endpoint->to_string() : "", canonical) << '"' << text << '"';
  }
}

TEST(Tuple, PrintsAndReverses) {
  const Tuple tuple{Protocol::tcp, *AddressPort::parse("10.0.0.1:4242"), *AddressPort::parse("10.96.0.1:80")};
  EXPECT_EQ(tuple.to_string(), "tcp 10.0.0.1:4242 -> 10.96.0.1:80");
  EXPECT_EQ(tuple.reversed().to_string(), "tcp 10.96.0.1:80 -> 10.0.0.1:4242");
}

TEST(Protocol, Names) {
  EXPECT_EQ(to_string(Protocol::udplite), "udplite");
  EXPECT_EQ(to_string(Protocol{47}), "protocol 47");
  EXPECT_EQ(parse_protocol("TCP"), Protocol::tcp);
  EXPECT_EQ(parse_protocol("Icmp6"), Protocol::icmp6);
  EXPECT_EQ(parse_protocol("tc"), std::nullopt);
  EXPECT_EQ(parse_protocol("tcpx"), std::nullopt);
  EXPECT_EQ(parse_protocol("6"), std::nullopt);
}

}  // namespace
}  // namespace limpet::net
