// Messages recorded on Linux 6.18 from dumps of RTM_GETADDR and RTM_GETROUTE (sequence and port cleared), after
//   ip addr add 10.1.0.1/24 dev eth0; ip addr add 10.1.0.2/24 dev eth0          (eth0 has index 3)
//   ip addr add 192.0.2.1 peer 198.51.100.1/32 dev eth0; ip -6 addr add fd00::1/64 dev eth0 nodad preferred_lft 0
//   ip route add default via 10.1.0.254 dev eth0
//   ip route add 203.0.113.0/24 metric 7 src 10.1.0.1 nexthop via 10.1.0.254 dev eth0 nexthop via 10.1.0.253 dev eth0
//   weight 3 ip route add 10.8.0.0/16 via inet6 fd00::fe dev eth0; ip route add blackhole 10.9.0.0/16 ip -6 route add
//   2001:db8::/32 via fd00::fe dev eth0
#include "lb/node/rtnetlink.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/hex.h"

namespace limpet::node {
namespace {

constexpr const char* kPrimary =
    "50000000140002000000000000000000 0218800003000000 080001000a010001 080002000a010001 0900030065746830 00000000"
    "0800080080000000 14000600ffffffffffffffff04ca020004ca0200";
constexpr const char* kSecondary =
    "50000000140002000000000000000000 0218810003000000 080001000a010002 080002000a010002 0900030065746830 00000000"
    "0800080081000000 14000600ffffffffffffffff05ca020005ca0200";
constexpr const char* kPointToPoint =
    "50000000140002000000000000000000 0220800003000000 08000100c6336401 08000200c0000201 0900030065746830 00000000"
    "0800080080000000 14000600ffffffffffffffff06ca020006ca0200";
constexpr const char* kLoopback =
    "4c000000140002000000000000000000 020880fe01000000 080001007f000001 080002007f000001 070003006c6f0000"
    "0800080080000000 14000600ffffffffffffffff02ca020002ca0200";
constexpr const char* kTentativeLinkLocal =
    "48000000140002000000000000000000 0a40c0fd02000000 14000100fe80000000000000bc7422fffe8ca2c6"
    "14000600ffffffffffffffff03ca020003ca0200 08000800c0000000 05000b0003000000";
constexpr const char* kDeprecatedV6 =
    "48000000140002000000000000000000 0a40a20003000000 14000100fd000000000000000000000000000001"
    "1400060000000000ffffffff06ca020006ca0200 08000800a2000000";

constexpr const char* kDefaultRoute =
    "34000000180002000000000000000000 02000000fe030001 00000000 08000f00fe000000 080005000a0100fe 0800040003000000";
constexpr const char* kMultipath =
    "60000000180002000000000000000000 02180000fe030001 00000000 08000f00fe000000 08000100cb007100 0800060007000000"
    "080007000a010001 24000900 1000000003000000080005000a0100fe 1000000203000000080005000a0100fd";
constexpr const char* kViaV6 =
    "4c000000180002000000000000000000 02100000fe030001 00000000 08000f00fe000000 080001000a080000"
    "160012000a00fd0000000000000000000000000000fe0000 0800040003000000";
constexpr const char* kBlackhole =
    "2c000000180002000000000000000000 02100000fe030006 00000000 08000f00fe000000 080001000a090000";
constexpr const char* kLocalTable =
    "3c000000180002000000000000000000 02200000ff02fe02 00000000 08000f00ff000000 080001000a010001 080007000a010001"
    "0800040003000000";
constexpr const char* kV6Route =
    "88000000180002000000000000000000 0a200000fe030001 00000000 08000f00fe000000 "
    "1400010020010db8000000000000000000000000"
    "0800060000040000 14000500fd0000000000000000000000000000fe 0800040003000000"
    "24000c00 0000000000000000000000000000000000000000000000000000000000000000 0500140000000000";

// Recorded likewise from RTM_GETLINK, what stands after the first attributes cut off (lengths adapted), after setting
// IFLA_GSO_MAX_SIZE, IFLA_GRO_MAX_SIZE, IFLA_GSO_IPV4_MAX_SIZE, IFLA_GRO_IPV4_MAX_SIZE of v to 200,000, 200,001 and so on.
constexpr const char* kBigTcpLink =
    "d0000000100000000000000000000000 00000100030000000210000000000000 060003007600000008000d00e8030000"
    "05001000020000000500110000000000 050043000000000008000400dc050000 080032004400000008003300ffff0000"
    "08001b000000000008001e0000000000 08003d000000000008001f0002000000 08002800ffff000008002900400d0300"
    "08003a00410d030008003f00420d0300 08004000430d030008003b00f8ff0700 08003c00ffff00000800420000000000"
    "08002000020000000500210000000000";
// The same of a device of a kernel that knows none of the four.
constexpr const char* kOldLink = "28000000100000000000000000000000 00000100030000000210000000000000 0600030076000000";

std::string describe(const InterfaceAddress& entry) {
  std::string text =
      entry.address.to_string() + "/" + std::to_string(entry.prefix_length) + " on " + std::to_string(entry.interface);
  if (entry.peer) text += " peer " + entry.peer->to_string();
  if (!entry.global_scope) text += " narrow";
  if (entry.secondary) text += " secondary";
  if (!entry.usable) text += " unusable";
  if (entry.deprecated) text += " deprecated";
  if (entry.temporary) text += " temporary";
  return text;
}

std::string describe(const std::vector<Route>& routes) {
  std::string text;
  for (const Route& route : routes) {
    if (!text.empty()) text += ", ";
    text += route.destination.to_string();
    if (route.gateway) text += " via " + route.gateway->to_string();
    text += " on " + std::to_string(route.interface) + " metric " + std::to_string(route.metric);
    if (route.preferred_source) text += " src " + route.preferred_source->to_string();
  }
  return text;
}

TEST(Rtnetlink, AddressesAsTheKernelSendsThem) {
  struct {
    const char* name;
    const char* message;
    const char* expected;
  } const cases[] = {
      {"primary", kPrimary, "10.1.0.1/24 on 3"},
      {"secondary", kSecondary, "10.1.0.2/24 on 3 secondary"},
      {"point to point", kPointToPoint, "192.0.2.1/32 on 3 peer 198.51.100.1"},
      {"loopback", kLoopback, "127.0.0.1/8 on 1 narrow"},
      {"tentative link-local", kTentativeLinkLocal, "fe80::bc74:22ff:fe8c:a2c6/64 on 2 narrow unusable"},
      {"deprecated", kDeprecatedV6, "fd00::1/64 on 3 deprecated"},
  };
  for (const auto& c : cases) {
    const auto entry = parse_address(test::from_hex(c.message));
    EXPECT_EQ(entry ? describe(*entry) : "none", c.expected) << c.name;
  }
  EXPECT_FALSE(parse_address(test::from_hex(kDefaultRoute))) << "a route is no address";
}

TEST(Rtnetlink, RoutesAsTheKernelSendsThem) {
  struct {
    const char* name;
    const char* message;
    const char* expected;
  } const cases[] = {
      {"default", kDefaultRoute, "0.0.0.0/0 via 10.1.0.254 on 3 metric 0"},
      {"multipath", kMultipath,
       "203.0.113.0/24 via 10.1.0.254 on 3 metric 7 src 10.1.0.1, 203.0.113.0/24 via 10.1.0.253 on 3 metric 7 src "
       "10.1.0.1"},
      {"IPv4 through an IPv6 gateway", kViaV6, "10.8.0.0/16 on 3 metric 0"},
      {"blackhole", kBlackhole, ""},
      {"local table", kLocalTable, ""},
      {"IPv6", kV6Route, "2001:db8::/32 via fd00::fe on 3 metric 1024"},
      {"an address", kPrimary, ""},
  };
  for (const auto& c : cases) EXPECT_EQ(describe(parse_route(test::from_hex(c.message))), c.expected) << c.name;
}

TEST(Rtnetlink, DevicesAsTheKernelSendsThem) {
  EXPECT_EQ(parse_limits(test::from_hex(kBigTcpLink)), (DeviceLimits{"v", 200000, 200001, 200002, 200003}));
  EXPECT_EQ(parse_limits(test::from_hex(kOldLink)), (DeviceLimits{"v", 0, 0, 0, 0}));
  EXPECT_FALSE(parse_limits(test::from_hex(kPrimary))) << "an address is no device";
  EXPECT_FALSE(parse_address(test::from_hex(kBigTcpLink)));
  EXPECT_TRUE(parse_route(test::from_hex(kBigTcpLink)).empty());
}

TEST(Rtnetlink, TruncatedMessagesGiveNothingAndReadNothingOutside) {
  for (const char* message : {kPrimary, kDeprecatedV6, kDefaultRoute, kMultipath, kV6Route, kBigTcpLink}) {
    const std::vector<std::byte> whole = test::from_hex(message);
    for (std::size_t length = 0; length < whole.size(); ++length) {
      const std::vector<std::byte> cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
      EXPECT_FALSE(parse_address(cut));  // shorter than its own length says
      EXPECT_TRUE(parse_route(cut).empty());
      EXPECT_FALSE(parse_limits(cut));
    }
  }
}

TEST(Rtnetlink, LyingAttributeLengthsStopTheWalk) {
  std::vector<std::byte> message = test::from_hex(kMultipath);
  // The length of RTA_MULTIPATH (offset 16 + 12 + 4 * 8) and of its first next hop (4 further), made to reach outside.
  for (const std::size_t offset : {60U, 64U}) {
    for (const int length : {0, 3, 255}) {
      std::vector<std::byte> forged = message;
      forged[offset] = static_cast<std::byte>(length);
      EXPECT_TRUE(parse_route(forged).empty()) << offset << " " << length;
    }
  }
}

}  // namespace
}  // namespace limpet::node
