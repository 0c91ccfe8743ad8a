// Which of the rarer packets the rules bring to the queue: other transports, ICMP, fragments one by one, direct traffic.
//
//   outside 10.1.0.2 ──── 10.1.0.1 node 10.2.0.1 ──── 10.2.0.2 pod        (fd00:1::, fd00:2:: alike)
#include <array>
#include <cstring>
#include <fstream>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lb/divert/diverter.h"
#include "tests/wire/divert_private_network.h"
#include "tests/wire/divert_translator.h"

namespace limpet::test {
namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using divert::Options;
using net::Protocol;

struct Names {
  const char* node_outside;
  const char* outside;
  const char* node_pod;
  const char* pod;
  const char* length;
  const char* vip;
};
constexpr Names kV4{"10.1.0.1", "10.1.0.2", "10.2.0.1", "10.2.0.2", "/24", "10.96.0.1"};
constexpr Names kV6{"fd00:1::1", "fd00:1::2", "fd00:2::1", "fd00:2::2", "/64", "fd00:96::1"};

/// Send the bytes as the payload of one IP packet of that protocol, with that mark.
bool send_raw(Protocol protocol, const net::Address& to, const std::string& payload, unsigned mark = 0) {
  sockaddr_storage storage{};
  socklen_t length = 0;
  if (to.is_v4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    std::memcpy(&in.sin_addr, to.bytes().data(), 4);
    std::memcpy(&storage, &in, length = sizeof in);
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    std::memcpy(&in.sin6_addr, to.bytes().data(), 16);
    std::memcpy(&storage, &in, length = sizeof in);
  }
  const int fd = ::socket(storage.ss_family, SOCK_RAW | SOCK_CLOEXEC, static_cast<int>(protocol));
  if (mark != 0) ::setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof mark);
  const ssize_t sent =
      ::sendto(fd, payload.data(), payload.size(), 0, reinterpret_cast<const sockaddr*>(&storage), length);
  ::close(fd);
  return sent == static_cast<ssize_t>(payload.size());
}

bool send_raw_from(const char* name, Protocol protocol, const net::Address& to, const std::string& payload) {
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = ::open((std::string("/run/netns/") + name).c_str(), O_RDONLY | O_CLOEXEC);
    ::_exit(fd >= 0 && ::setns(fd, CLONE_NEWNET) == 0 && send_raw(protocol, to, payload) ? 0 : 1);
  }
  int status = 1;
  ::waitpid(child, &status, 0);
  return status == 0;
}

/// `size` bytes that begin with the two ports, as all of these transports do, and the length, as UDP's do.
std::string ports(std::uint16_t source, std::uint16_t destination, std::uint16_t size = 28) {
  std::string text(size, '\0');
  std::size_t at = 0;
  for (const std::uint16_t word : {source, destination, size}) {
    text[at++] = static_cast<char>(word >> 8);
    text[at++] = static_cast<char>(word);
  }
  return text;
}

struct Case {
  const char* name;
  const Names& names;
  const char* tool;
  divert::Backend backend;
  divert::Sets sets;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

class Features : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(Privilege::as_is); !reason.empty()) GTEST_SKIP() << reason;
    link("outside", names_.node_outside, names_.outside);
    link("pod", names_.node_pod, names_.pod);
    must("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    // What nobody translates ends at the pod, which forwards nothing: no ICMP errors.
    must(std::string("ip route add ") + names_.vip + " via " + names_.pod);
  }

  void link(const std::string& name, const std::string& near, const std::string& far) {
    must("ip netns add " + name);
    must("ip link add name to-" + name + " type veth peer name eth0 netns " + name);
    const std::string nodad = near.find(':') != near.npos ? " nodad" : "";
    must("ip addr add " + near + names_.length + " dev to-" + name + nodad);
    must("ip link set to-" + name + " addrgenmode none");
    must("ip addr add fe80::1/64 dev to-" + name + " nodad");
    must("ip -n " + name + " link set eth0 addrgenmode none");
    must("ip -n " + name + " addr add fe80::2/64 dev eth0 nodad");
    must("ip link set to-" + name + " up");
    must("ip -n " + name + " addr add " + far + names_.length + " dev eth0" + nodad);
    must("ip -n " + name + " link set eth0 up");
    must("ip -n " + name + " route add default via " + near);
  }

  bool v4() const { return vip_.is_v4(); }
  L4Address service(Protocol protocol, std::uint16_t port) const { return {protocol, {vip_, port}}; }
  L4Address endpoint(Protocol protocol, std::uint16_t port) const { return {protocol, {pod_, port}}; }

  void apply(std::vector<L4Address> services, std::vector<L4Address> endpoints, Options options = {}) {
    options.backend = GetParam().backend;
    options.sets = GetParam().sets;
    if (GetParam().sets == divert::Sets::automatic) options.short_list = 0;
    auto diverter = divert::Diverter::open(options);
    ASSERT_TRUE(diverter) << diverter.error().message;
    const auto applied = diverter->apply({.services = std::move(services),
                                          .endpoints = std::move(endpoints),
                                          .locals = {*net::Address::parse(names_.node_outside)}});
    ASSERT_TRUE(applied) << applied.error().message;
    EXPECT_EQ(applied->size(), 0U) << applied->front();
  }

  const Names& names_ = GetParam().names;
  const net::Address vip_ = *net::Address::parse(names_.vip);
  const net::Address pod_ = *net::Address::parse(names_.pod);
  const net::Address outside_ = *net::Address::parse(names_.outside);
  const net::AddressPort nothing_{vip_, 1};  // for a translator that only looks on
};

/// Wait until the translator has seen as many packets as `expected` names, and a moment more.
std::string hooks_of(const Translator& translator, const std::string& expected) {
  for (int i = 0; i < 100 && translator.hooks().size() < expected.size(); ++i) ::usleep(20'000);
  ::usleep(50'000);
  return translator.hooks();
}

TEST_P(Features, SctpAndUdpLiteHaveTheirRules) {
  for (const Protocol protocol : {Protocol::sctp, Protocol::udplite}) {
    apply({service(protocol, 36412)}, {endpoint(protocol, 9)});
    const Translator translator(nothing_, nothing_);
    EXPECT_TRUE(send_raw_from("outside", protocol, vip_, ports(9, 36413))) << "not the service's port";
    EXPECT_TRUE(send_raw_from("outside", Protocol::udp, vip_, ports(9, 36412))) << "not its protocol";
    EXPECT_TRUE(send_raw_from("outside", protocol, vip_, ports(9, 36412)));
    EXPECT_EQ(hooks_of(translator, "prerouting "), "prerouting ");
    EXPECT_TRUE(send_raw_from("pod", protocol, *net::Address::parse(names_.node_outside), ports(9, 36412)));
    // Nobody on the node listens: an ICMP error may follow.
    const std::string expected = "prerouting prerouting input ";
    EXPECT_EQ(hooks_of(translator, expected).substr(0, expected.size()), expected);
  }
}

TEST_P(Features, EchoRequestsToAVipAreRequests) {
  const Protocol icmp = v4() ? Protocol::icmp : Protocol::icmp6;
  const auto type = static_cast<std::uint16_t>(v4() ? 8 : 128);
  apply({service(icmp, static_cast<std::uint16_t>(type << 8))}, {});
  const std::string request = std::string(1, static_cast<char>(type)) + std::string(15, '\0');
  EXPECT_TRUE(send_raw_from("outside", icmp, vip_, request));
  const Translator late(nothing_, nothing_);  // what came before it was dropped
  EXPECT_TRUE(send_raw_from("outside", icmp, outside_, request)) << "to itself";
  EXPECT_TRUE(send_raw_from("outside", icmp, *net::Address::parse(names_.node_outside), request)) << "not to the VIP";
  EXPECT_EQ(hooks_of(late, ""), "");
  EXPECT_TRUE(send_raw_from("outside", icmp, vip_, request));
  EXPECT_EQ(hooks_of(late, "prerouting "), "prerouting ");
}

// An error passes by the queue at both hooks of its way; echo replies do not.
TEST_P(Features, IcmpErrorsAreQueuedAndPassWithoutAReader) {
  const Protocol icmp = v4() ? Protocol::icmp : Protocol::icmp6;
  apply({service(Protocol::udp, 53)}, {endpoint(Protocol::udp, 53)});
  const std::string unreachable = std::string(1, static_cast<char>(v4() ? 3 : 1)) + std::string(63, '\0');
  const std::string reply = std::string(1, static_cast<char>(v4() ? 0 : 129)) + std::string(15, '\0');
  {
    const Translator translator(nothing_, nothing_);
    EXPECT_TRUE(send_raw_from("pod", icmp, outside_, reply));
    EXPECT_TRUE(send_raw_from("pod", icmp, outside_, unreachable));
    EXPECT_EQ(hooks_of(translator, "prerouting postrouting "), "prerouting postrouting ");
    EXPECT_TRUE(send_raw_from("pod", icmp, *net::Address::parse(names_.node_pod), unreachable));
    EXPECT_EQ(hooks_of(translator, "prerouting postrouting prerouting input "),
              "prerouting postrouting prerouting input ");
    EXPECT_TRUE(send_raw(icmp, outside_, unreachable));
    EXPECT_EQ(hooks_of(translator, "prerouting postrouting prerouting input output postrouting "),
              "prerouting postrouting prerouting input output postrouting ");
  }
  // Nobody reads now. Count what arrives outside, of another code: neighbour discovery may still hold the first error.
  const std::string tool = v4() ? "iptables-legacy" : "ip6tables-legacy";
  const std::string errors = v4() ? "icmp -m icmp --icmp-type 3/3" : "ipv6-icmp -m icmp6 --icmpv6-type 1/4";
  std::string port_unreachable = unreachable;
  port_unreachable[1] = static_cast<char>(v4() ? 3 : 4);
  must("ip netns exec outside " + tool + " -A INPUT -p " + errors + " -s " + names_.pod);
  EXPECT_TRUE(send_raw_from("pod", icmp, outside_, port_unreachable));
  const auto arrived = [&] { return must("ip netns exec outside " + tool + "-save -c -t filter"); };
  for (int i = 0; i < 250 && arrived().find("\n[1:") == std::string::npos; ++i) ::usleep(20'000);
  EXPECT_NE(arrived().find("\n[1:"), std::string::npos) << arrived();
}

// What limpet sends itself carries the mark bit: conntrack, where it is in use, neither tracks it nor calls it invalid.
TEST_P(Features, OwnAnswersAreNotTracked) {
  const Protocol icmp = v4() ? Protocol::icmp : Protocol::icmp6;
  const std::string errors = v4() ? "icmp -m icmp --icmp-type 3" : "ipv6-icmp -m icmp6 --icmpv6-type 1";
  const std::string tool = GetParam().tool;
  apply({service(Protocol::udp, 53)}, {endpoint(Protocol::udp, 53)});
  const Translator translator(nothing_, nothing_);
  const std::string unreachable = std::string(1, static_cast<char>(v4() ? 3 : 1)) + std::string(63, '\0');
  const auto tracked = [] {
    std::ifstream file("/proc/sys/net/netfilter/nf_conntrack_count");
    int count = -1;
    file >> count;
    return count;
  };
  EXPECT_TRUE(send_raw(Protocol::udp, outside_, ports(1000, 2000)));
  EXPECT_EQ(tracked(), 0) << "the rule alone does not turn tracking on";
  must(tool + " -A OUTPUT -p " + errors + " -m conntrack --ctstate INVALID -m comment --comment invalid");
  must(tool + " -A OUTPUT -p " + errors + " -m conntrack --ctstate UNTRACKED -m comment --comment untracked");
  EXPECT_TRUE(send_raw(Protocol::udp, outside_, ports(1000, 2000)));
  EXPECT_EQ(tracked(), 1) << "the conntrack match has turned it on";
  EXPECT_TRUE(send_raw(icmp, outside_, unreachable)) << "about a connection that nobody knows";
  EXPECT_TRUE(send_raw(icmp, outside_, unreachable, 0x1000));
  const auto packets = [&](const std::string& comment) {
    const std::string saved = must(tool + "-save -c -t filter");
    const auto at = saved.rfind('[', saved.find("--comment " + comment));
    return saved.substr(at, saved.find(':', at) - at);
  };
  hooks_of(translator, "output postrouting postrouting ");
  EXPECT_EQ(packets("invalid"), "[1");
  EXPECT_EQ(packets("untracked"), "[1");
  EXPECT_EQ(tracked(), 1);
}

TEST_P(Features, DirectTrafficIsQueuedIfSoChosenAndPassesWithoutAReader) {
  apply({service(Protocol::udp, 53)}, {endpoint(Protocol::udp, 53)}, {.direct = true});
  const std::string tool = v4() ? "iptables-legacy" : "ip6tables-legacy";
  must("ip netns exec pod " + tool + " -A INPUT -p udp --dport 53");
  {
    const Translator translator(nothing_, nothing_);
    EXPECT_TRUE(send_raw_from("outside", Protocol::udp, pod_, ports(1000, 54)));
    EXPECT_TRUE(send_raw_from("outside", Protocol::udp, pod_, ports(1000, 53)));
    const std::string seen = hooks_of(translator, "prerouting ");
    EXPECT_EQ(seen.substr(0, 11), "prerouting ");
    EXPECT_TRUE(send_raw(Protocol::udp, pod_, ports(1000, 53)));
    EXPECT_NE(hooks_of(translator, seen + "output ").find("output "), std::string::npos);
  }
  EXPECT_TRUE(send_raw_from("outside", Protocol::udp, pod_, ports(1000, 53)));
  const auto arrived = [&] { return must("ip netns exec pod " + tool + "-save -c -t filter"); };
  for (int i = 0; i < 100 && arrived().find("\n[3:") == std::string::npos; ++i) ::usleep(20'000);
  EXPECT_NE(arrived().find("\n[3:"), std::string::npos) << arrived();
}

// 3,000 bytes on Ethernet are three fragments.
TEST_P(Features, LaterFragmentsAreQueuedOneByOneIfSoChosen) {
  apply({service(Protocol::udp, 53)}, {endpoint(Protocol::udp, 53)}, {.defragment = divert::Defragment::never});
  for (const char* name : {"pod", "outside"}) {  // nobody listens there; and let nobody say so
    must(std::string("ip netns exec ") + name + (v4() ? " iptables" : " ip6tables") + "-legacy -A OUTPUT -p " +
         (v4() ? "icmp" : "ipv6-icmp -m icmp6 --icmpv6-type 1") + " -j DROP");
  }
  const Translator translator(nothing_, nothing_);
  EXPECT_TRUE(send_raw_from("outside", Protocol::udp, outside_, ports(1000, 53, 3000))) << "to itself";
  EXPECT_TRUE(send_raw_from("outside", Protocol::udp, pod_, ports(1000, 54, 3000))) << "to the pod, no reply";
  EXPECT_TRUE(send_raw_from("pod", Protocol::udp, outside_, ports(53, 1000, 3000)));
  const std::string replies = "postrouting postrouting postrouting ";
  EXPECT_EQ(hooks_of(translator, replies), replies) << "from an endpoint";
  EXPECT_TRUE(send_raw_from("outside", Protocol::udp, vip_, ports(1000, 53, 3000)));
  const std::string requests = replies + "prerouting prerouting prerouting ";
  EXPECT_EQ(hooks_of(translator, requests), requests) << "to a VIP";
}

/// Does a datagram come to that socket, soon?
bool arrives(int fd, int limit_ms) {
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  std::array<char, 64> text;
  return ::poll(&entry, 1, limit_ms) == 1 && ::recv(fd, text.data(), text.size(), 0) > 0;
}

/// IPv4 only: IPv6 has no such setting.
class Localhost : public Features {};

// CVE-2020-8558: with route_localnet a neighbour reaches what listens at 127.0.0.1 only.
TEST_P(Localhost, TheGuardKeepsNeighboursOut) {
  // A neighbour that sends to 127.0.0.1 over the wire.
  must("sysctl -q -w net.ipv4.conf.all.rp_filter=0");
  must("ip netns exec outside sysctl -q -w net.ipv4.conf.all.route_localnet=1");
  must("ip -n outside route add 127.0.0.1/32 via 10.1.0.1 src 10.1.0.2");
  const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(5353);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at), 0);
  const auto localhost = *net::Address::parse("127.0.0.1");

  must("sysctl -q -w net.ipv4.conf.all.route_localnet=1");
  EXPECT_TRUE(send_raw_from("outside", Protocol::udp, localhost, ports(1000, 5353)));
  EXPECT_TRUE(arrives(fd, 5000)) << "the danger is real";
  must("sysctl -q -w net.ipv4.conf.all.route_localnet=0");

  apply({service(Protocol::udp, 53), {Protocol::udp, {localhost, 31332}}}, {endpoint(Protocol::udp, 53)},
        {.localhost_node_ports = true});
  EXPECT_EQ(must("sysctl -n net.ipv4.conf.all.route_localnet"), "1\n");
  const Translator translator(nothing_, nothing_);
  EXPECT_TRUE(send_raw_from("outside", Protocol::udp, localhost, ports(1000, 5353)));
  EXPECT_TRUE(send_raw_from("outside", Protocol::udp, localhost, ports(1000, 31332)));
  EXPECT_FALSE(arrives(fd, 300));
  EXPECT_EQ(translator.hooks(), "") << "not even the service at 127.0.0.1 is for them";
  EXPECT_TRUE(send_raw(Protocol::udp, localhost, ports(1000, 5353)));
  EXPECT_TRUE(arrives(fd, 5000)) << "local processes are not kept from it";
  ::close(fd);
}

constexpr Case kCases[] = {
    {"V4NftSets", kV4, "iptables-nft", divert::Backend::iptables_nft, divert::Sets::automatic},
    {"V4LegacyPlain", kV4, "iptables-legacy", divert::Backend::iptables_legacy, divert::Sets::never},
    {"V6NftPlain", kV6, "ip6tables-nft", divert::Backend::iptables_nft, divert::Sets::never},
    {"V6LegacySets", kV6, "ip6tables-legacy", divert::Backend::iptables_legacy, divert::Sets::automatic}};
INSTANTIATE_TEST_SUITE_P(Divert, Localhost, testing::Values(kCases[0], kCases[1]),
                         [](const auto& test) { return std::string(test.param.name); });
INSTANTIATE_TEST_SUITE_P(Divert, Features, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace limpet::test
