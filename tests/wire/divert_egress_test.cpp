// What NodeView::egress says against what the kernel's MASQUERADE does, configuration by configuration: a packet from a
// foreign source leaves through `out`, the kernel masquerades it, its connection tracking tells the address that it
// chose.
#include <array>
#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lb/node/node_monitor.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

/// A UDP datagram without payload and checksum, source 203.0.113.77 or 2001:db8:77::77, port 7777 to 9.
std::vector<unsigned char> forged_datagram(const net::Address& destination) {
  const bool v4 = destination.is_v4();
  std::vector<unsigned char> packet(v4 ? 28 : 48);
  const std::array<unsigned char, 8> udp{0x1e, 0x61, 0, 9, 0, 8, 0, 0};
  std::memcpy(packet.data() + packet.size() - udp.size(), udp.data(), udp.size());
  const auto source = *net::Address::parse(v4 ? "203.0.113.77" : "2001:db8:77::77");
  packet[0] = v4 ? 0x45 : 0x60;
  packet[v4 ? 3 : 5] = v4 ? 28 : 8;  // length
  packet[v4 ? 9 : 6] = IPPROTO_UDP;
  packet[v4 ? 8 : 7] = 64;  // TTL
  const std::size_t addresses = v4 ? 12 : 8;
  for (std::size_t i = 0; i < source.size(); ++i) {
    packet[addresses + i] = static_cast<unsigned char>(source.bytes()[i]);
    packet[addresses + source.size() + i] = static_cast<unsigned char>(destination.bytes()[i]);
  }
  return packet;
}

void send_forged(const net::Address& destination) {
  const int fd = ::socket(destination.is_v4() ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  ASSERT_GE(fd, 0) << std::strerror(errno);
  const std::vector<unsigned char> packet = forged_datagram(destination);
  sockaddr_storage to{};
  if (destination.is_v4()) {
    auto& in = reinterpret_cast<sockaddr_in&>(to);
    in.sin_family = AF_INET;
    std::memcpy(&in.sin_addr, destination.bytes().data(), 4);
  } else {
    auto& in = reinterpret_cast<sockaddr_in6&>(to);
    in.sin6_family = AF_INET6;
    std::memcpy(&in.sin6_addr, destination.bytes().data(), 16);
  }
  const auto length = static_cast<socklen_t>(destination.is_v4() ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
  const ssize_t sent = ::sendto(fd, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&to), length);
  EXPECT_EQ(sent, static_cast<ssize_t>(packet.size())) << std::strerror(errno);
  ::close(fd);
}

/// The address that the kernel put in place of the source: "dst=" of the entry's reply direction.
std::string masqueraded_as(const net::Address& destination) {
  const std::string family = destination.is_v4() ? "ipv4" : "ipv6";
  const std::string entry = must("conntrack -L -p udp -f " + family + " --orig-port-src 7777");
  const auto reply = entry.rfind("dst=");
  return reply == entry.npos ? "no entry: " + entry : entry.substr(reply + 4, entry.find(' ', reply) - reply - 4);
}

struct EgressCase {
  const char* name;
  std::vector<const char*> setup;  // `ip` commands; interfaces a, b, c are up, each with its other end
  const char* destination;
  const char* out;
  friend void PrintTo(const EgressCase& c, std::ostream* stream) { *stream << c.name; }
};

class Masquerade : public testing::TestWithParam<EgressCase> {};

TEST_P(Masquerade, AgreesWithEgress) {
  if (const std::string reason = enter_private_network(Privilege::as_is); !reason.empty()) GTEST_SKIP() << reason;
  const EgressCase& c = GetParam();
  for (const std::string name : {"a", "b", "c"}) {
    must("ip link add name if" + name + " type veth peer name peer" + name);
    must("ip link set if" + name + " up");
    must("ip link set peer" + name + " up");
  }
  for (const char* command : c.setup) must(std::string("ip ") + command);
  const auto destination = *net::Address::parse(c.destination);
  const std::string tables = destination.is_v4() ? "iptables" : "ip6tables";
  if (!divert::run({tables, "-t", "nat", "-A", "POSTROUTING", "-j", "MASQUERADE"})->ok()) {
    GTEST_SKIP() << "this kernel has no MASQUERADE to compare with";
  }
  send_forged(destination);

  const auto monitor = node::NodeMonitor::open();
  ASSERT_TRUE(monitor) << monitor.error().message;
  const auto node = monitor->snapshot();
  ASSERT_TRUE(node) << node.error().message;
  const auto chosen = node->egress(if_nametoindex(c.out), destination);
  EXPECT_EQ(chosen ? chosen->to_string() : "none", masqueraded_as(destination));
}

const EgressCase kCases[] = {
    {"OneAddress", {"addr add 10.1.0.1/24 dev ifa"}, "10.1.0.9", "ifa"},
    {"SecondSubnet", {"addr add 10.1.0.1/24 dev ifa", "addr add 10.2.0.1/24 dev ifa"}, "10.2.0.9", "ifa"},
    {"SecondaryIsNotChosen", {"addr add 10.1.0.1/24 dev ifa", "addr add 10.1.0.2/24 dev ifa"}, "10.1.0.9", "ifa"},
    {"GatewayInSecondSubnet",
     {"addr add 10.1.0.1/24 dev ifa", "addr add 10.2.0.1/24 dev ifa", "route add default via 10.2.0.254"},
     "198.51.100.9",
     "ifa"},
    {"RoutesSourceHintPlaysNoPart",
     {"addr add 10.1.0.1/24 dev ifa", "addr add 10.2.0.1/24 dev ifa", "route add default via 10.1.0.254 src 10.2.0.1"},
     "198.51.100.9",
     "ifa"},
    {"LongerRouteHasAnotherGateway",
     {"addr add 10.1.0.1/24 dev ifa", "addr add 10.2.0.1/24 dev ifa", "route add default via 10.1.0.254",
      "route add 198.51.100.0/24 via 10.2.0.254"},
     "198.51.100.9",
     "ifa"},
    {"OnLinkRouteOutsideEverySubnet",
     {"addr add 10.1.0.1/24 dev ifa", "addr add 10.2.0.1/24 dev ifa", "route add 198.51.100.0/24 dev ifa"},
     "198.51.100.9",
     "ifa"},
    {"AddressOnlyOnAnotherInterface",
     {"addr add 10.3.0.1/24 dev ifc", "addr add 10.2.0.1/24 dev ifb", "route add 198.51.100.0/24 dev ifa"},
     "198.51.100.9",
     "ifa"},
    {"AddressOnLoopback",
     {"addr add 10.3.0.1/24 dev ifc", "addr add 192.0.2.1/32 dev lo", "route add 198.51.100.0/24 dev ifa"},
     "198.51.100.9",
     "ifa"},
    {"LinkScopeIsPassedOver",
     {"addr add 10.1.0.1/24 dev ifa scope link", "addr add 10.2.0.1/24 dev ifa", "route add 198.51.100.0/24 dev ifa"},
     "10.1.0.9",
     "ifa"},
    {"PeerOfAPointToPointAddress",
     {"addr add 10.1.0.1/24 dev ifa", "addr add 192.0.2.1 peer 198.51.100.1/32 dev ifa"},
     "198.51.100.1",
     "ifa"},
    {"OnlinkGatewayOutsideEverySubnet",
     {"addr add 10.1.0.1/24 dev ifa", "addr add 10.2.0.1/24 dev ifa",
      "route add default via 172.16.0.1 dev ifa onlink"},
     "198.51.100.9",
     "ifa"},
    {"GatewayOfTheOtherFamily",
     {"addr add 10.1.0.1/24 dev ifa", "addr add 10.2.0.1/24 dev ifa", "addr add fd00:1::1/64 dev ifa nodad",
      "route add 198.51.100.0/24 via inet6 fd00:1::fe dev ifa"},
     "198.51.100.9",
     "ifa"},
    {"MultipathOverOneInterface",
     {"addr add 10.1.0.1/24 dev ifa",
      "route add 198.51.100.0/24 nexthop via 10.1.0.253 dev ifa nexthop via 10.1.0.254 dev ifa"},
     "198.51.100.9",
     "ifa"},
    {"V6OneAddress", {"addr add fd00:1::1/64 dev ifa nodad"}, "fd00:1::9", "ifa"},
    {"V6LongestCommonPrefix",
     {"addr add fd00:1::1/64 dev ifa nodad", "addr add fd00:2::1/64 dev ifa nodad"},
     "fd00:1::9",
     "ifa"},
    {"V6NewestOfEquals",
     {"addr add fd00:1::7/64 dev ifa nodad", "addr add fd00:1::8/64 dev ifa nodad", "-6 route add default dev ifa"},
     "2001:db8::9",
     "ifa"},
    {"V6OutInterfaceBeforePrefix",
     {"addr add fd00:1::1/64 dev ifa nodad", "addr add fd00:3::1/64 dev ifb nodad",
      "-6 route add fd00:3::9/128 dev ifa"},
     "fd00:3::9",
     "ifa"},
    {"V6AddressOnlyOnAnotherInterface",
     {"addr add fd00:3::1/64 dev ifb nodad", "addr add fd00:4::1/64 dev ifc nodad",
      "-6 route add fd00:4::9/128 dev ifa"},
     "fd00:4::9",
     "ifa"},
    {"V6Deprecated",
     {"addr add fd00:1::1/64 dev ifa nodad preferred_lft 0", "addr add fd00:2::1/64 dev ifa nodad"},
     "fd00:1::9",
     "ifa"},
    {"V6DeprecatedLosesToAnotherInterface",
     {"addr add fd00:1::1/64 dev ifa nodad preferred_lft 0", "addr add fd00:3::1/64 dev ifb nodad"},
     "fd00:1::9",
     "ifa"},
    {"V6LabelBeforePrefix",
     {"addr add 2002::1/64 dev ifa nodad", "addr add 2400::1/64 dev ifa nodad", "-6 route add 2000::9/128 dev ifa"},
     "2000::9",
     "ifa"},
    {"V6NoLongerThanItsOwnPrefix",
     {"addr add 2001:db8:1::1/64 dev ifa nodad", "addr add 2001:db8::1/16 dev ifa nodad"},
     "2001:db8::9",
     "ifa"},
};
INSTANTIATE_TEST_SUITE_P(Egress, Masquerade, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace limpet::test
