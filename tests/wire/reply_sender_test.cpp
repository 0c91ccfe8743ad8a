// limpet's own answers on the wire: a client in a network of its own asks a VIP that the node does not have; its packet is
// taken off the wire and handed to ReplySender, as a worker does with a rejected one.
//
//   client (vc) ──────────── node (vn)
//   198.51.100.7, 2001:db8:7::7, fe80::7     fwmark 0x1000 ▶ table 100: the routes to the client
//
// The node knows the way to the client only for packets with the mark: so what arrives carries it.
#include "lb/queue/reply_sender.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

constexpr std::uint32_t kMark = 0x1000;
constexpr std::uint16_t kPort = 7777;
constexpr int kPatience = 2000;  // ms; an answer takes far less

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) { EXPECT_GE(fd, 0) << std::strerror(errno); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() { ::close(fd_); }
  operator int() const { return fd_; }  // NOLINT: stands for it

 private:
  int fd_;
};

struct Case {
  std::string name;
  std::string client, vip;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class Replies : public testing::TestWithParam<std::tuple<Privilege, Case>> {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(std::get<Privilege>(GetParam())); !reason.empty()) {
      GTEST_SKIP() << reason;
    }
    must("ip netns add client");
    must("ip link add vn type veth peer name vc netns client");
    must("ip link set vn addrgenmode none");
    must("ip -n client link set vc addrgenmode none");
    must("ip addr add fe80::1/64 dev vn nodad");
    must("ip addr add 10.1.0.1/24 dev vn");
    must("ip link set vn up");
    must("ip -n client addr add fe80::7/64 dev vc nodad");
    must("ip -n client addr add 10.1.0.7/24 dev vc");
    must("ip -n client addr add 198.51.100.7/32 dev vc");
    must("ip -n client addr add 2001:db8:7::7/128 dev vc nodad");
    must("ip -n client link set lo up");
    must("ip -n client link set vc up");
    must("ip -n client route add 10.96.0.0/16 via 10.1.0.1");
    must("ip -n client route add fd00:96::/64 via fe80::1 dev vc");
    must("ip route add blackhole 10.96.0.0/16");  // the node itself says nothing
    must("ip -6 route add blackhole fd00:96::/64");
    must("ip rule add fwmark 0x1000 table 100");
    must("ip -6 rule add fwmark 0x1000 table 100");
    must("ip route add 198.51.100.7 via 10.1.0.7 table 100");
    must("ip -6 route add 2001:db8:7::7 via fe80::7 dev vn table 100");
  }
  const Case& ends() const { return std::get<Case>(GetParam()); }
  int family() const { return ends().vip.find(':') == std::string::npos ? AF_INET : AF_INET6; }

  /// A socket of the client.
  static int client_socket(int family, int type, int protocol) {
    const Descriptor home(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    const Descriptor there(::open("/run/netns/client", O_RDONLY | O_CLOEXEC));
    EXPECT_EQ(::setns(there, CLONE_NEWNET), 0) << std::strerror(errno);
    const int fd = ::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
    if (type != SOCK_RAW) bind_to(fd, "vc");
    EXPECT_EQ(::setns(home, CLONE_NEWNET), 0) << std::strerror(errno);
    return fd;
  }
  static void bind_to(int fd, const char* interface) {
    EXPECT_EQ(::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface, static_cast<socklen_t>(std::strlen(interface))),
              0)
        << std::strerror(errno);
  }
  struct Name {
    sockaddr_storage storage{};
    socklen_t length = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  };
  Name name(const std::string& address, std::uint16_t port) const {
    Name made;
    if (family() == AF_INET) {
      auto& in = reinterpret_cast<sockaddr_in&>(made.storage);
      in.sin_family = AF_INET;
      in.sin_port = htons(port);
      EXPECT_EQ(::inet_pton(AF_INET, address.c_str(), &in.sin_addr), 1);
      made.length = sizeof in;
    } else {
      auto& in = reinterpret_cast<sockaddr_in6&>(made.storage);
      in.sin6_family = AF_INET6;
      in.sin6_port = htons(port);
      EXPECT_EQ(::inet_pton(AF_INET6, address.c_str(), &in.sin6_addr), 1);
      made.length = sizeof in;
    }
    return made;
  }
  /// A client's socket whose address is taken, on the way to the VIP.
  int connecting(int type) const {
    const int fd = client_socket(family(), type, 0);
    Name from = name(ends().client, 0);
    if (ends().client.starts_with("fe80")) {
      reinterpret_cast<sockaddr_in6&>(from.storage).sin6_scope_id = client_interface();
    }
    EXPECT_EQ(::bind(fd, from.get(), from.length), 0) << std::strerror(errno);
    const Name to = name(ends().vip, kPort);
    const int connected = ::connect(fd, to.get(), to.length);
    EXPECT_TRUE(connected == 0 || errno == EINPROGRESS) << std::strerror(errno);
    return fd;
  }
  static unsigned client_interface() {
    const std::string line = must("ip -n client -o link show vc");  // "2: vc@if3: …"
    return static_cast<unsigned>(std::stoul(line));
  }

  /// What the wire carries to the node's end, with what the kernel knows of each packet (packet(7), PACKET_AUXDATA).
  static int wire_tap() {
    const int fd = ::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, htons(ETH_P_ALL));
    const int on = 1;
    EXPECT_EQ(::setsockopt(fd, SOL_PACKET, PACKET_AUXDATA, &on, sizeof on), 0) << std::strerror(errno);
    sockaddr_ll at{};
    at.sll_family = AF_PACKET;
    at.sll_protocol = htons(ETH_P_ALL);
    at.sll_ifindex = static_cast<int>(::if_nametoindex("vn"));
    EXPECT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at), 0) << std::strerror(errno);
    return fd;
  }
  static bool wait_for(int fd, short events) {
    pollfd one{fd, events, 0};
    return ::poll(&one, 1, kPatience) == 1;
  }
  struct Taken {
    std::vector<std::byte> bytes;
    bool checksum_pending = false;

    /// As a worker reads it from the queue.
    datapath::Packet diverted() {
      return {.bytes = bytes,
              .hook = datapath::Hook::prerouting,
              .in_interface = ::if_nametoindex("vn"),
              .checksum_pending = checksum_pending};
    }
  };
  /// The next packet from the tap, of up to 2048 bytes; no bytes at an error.
  static Taken take_from(int tap) {
    Taken taken{std::vector<std::byte>(2048)};
    iovec room{taken.bytes.data(), taken.bytes.size()};
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(tpacket_auxdata))> control;
    msghdr message{};
    message.msg_iov = &room, message.msg_iovlen = 1;
    message.msg_control = control.data(), message.msg_controllen = control.size();
    const ssize_t size = ::recvmsg(tap, &message, 0);
    taken.bytes.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message); size > 0 && header != nullptr) {
      tpacket_auxdata known;
      std::memcpy(&known, CMSG_DATA(header), sizeof known);
      taken.checksum_pending = (known.tp_status & TP_STATUS_CSUMNOTREADY) != 0;
    }
    return taken;
  }
  /// The first packet from the tap that is of this transport protocol.
  Taken next_of(int tap, unsigned protocol) const {
    while (wait_for(tap, POLLIN)) {
      Taken taken = take_from(tap);
      if (taken.bytes.size() < 28) continue;
      const auto version = std::to_integer<unsigned>(taken.bytes[0]) >> 4;
      const std::size_t at = version == 4 ? 9 : 6;
      if (version != (family() == AF_INET ? 4U : 6U)) continue;
      if (std::to_integer<unsigned>(taken.bytes[at]) == protocol) return taken;
    }
    ADD_FAILURE() << "nothing of protocol " << protocol << " came from the client";
    return {};
  }
  /// The error that waits at the socket; 0 after a while without any.
  static int error_of(int fd) {
    wait_for(fd, POLLERR);
    int error = 0;
    socklen_t length = sizeof error;
    EXPECT_EQ(::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length), 0);
    return error;
  }
  std::string source_of_next(int raw) const {
    if (!wait_for(raw, POLLIN)) return "nobody";
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    std::array<std::byte, 2048> packet;
    EXPECT_GT(::recvfrom(raw, packet.data(), packet.size(), 0, reinterpret_cast<sockaddr*>(&from), &length), 0);
    std::array<char, INET6_ADDRSTRLEN> text{};
    const void* address = family() == AF_INET
                              ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in&>(from).sin_addr)
                              : static_cast<const void*>(&reinterpret_cast<const sockaddr_in6&>(from).sin6_addr);
    ::inet_ntop(family(), address, text.data(), text.size());
    return text.data();
  }
};

std::vector<std::byte> bytes_of(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST_P(Replies, AUdpClientIsRefusedAtOnceByTheVip) {
  queue::ReplySender sender({.mark = kMark, .per_second = 1, .burst = 2});
  ASSERT_TRUE(sender.warnings().empty()) << sender.warnings().front();
  const Descriptor tap(wire_tap()), client(connecting(SOCK_DGRAM));
  const Descriptor icmp(
      client_socket(family(), SOCK_RAW, family() == AF_INET ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6}));
  if (family() == AF_INET6) {  // neighbour discovery stays out of it
    std::array<std::uint32_t, 8> block;
    block.fill(0xffffffff);
    block[0] &= ~(1U << 1);  // type 1, destination unreachable (RFC 3542 section 3.2)
    ASSERT_EQ(::setsockopt(icmp, IPPROTO_ICMPV6, 1, block.data(), sizeof block), 0);
  }
  ASSERT_EQ(::send(client, "ask", 3, 0), 3) << std::strerror(errno);
  Taken request = next_of(tap, IPPROTO_UDP);
  ASSERT_FALSE(request.bytes.empty());
  sender.answer(net::ReplyKind::port_unreachable, request.diverted(), flow::Instant{});
  EXPECT_EQ(error_of(client), ECONNREFUSED);
  EXPECT_EQ(source_of_next(icmp), ends().vip);
  EXPECT_EQ(sender.counts().sent, 1u);
  sender.answer(net::ReplyKind::port_unreachable, request.diverted(), flow::Instant{});
  sender.answer(net::ReplyKind::port_unreachable, request.diverted(), flow::Instant{});
  EXPECT_EQ(sender.counts().sent, 2u);
  EXPECT_EQ(sender.counts().suppressed, 1u) << "the burst is 2";
  EXPECT_EQ(sender.counts().failed, 0u);
}

TEST_P(Replies, ATcpClientIsRefusedByAReset) {
  queue::ReplySender sender({.mark = kMark});
  const Descriptor tap(wire_tap()), client(connecting(SOCK_STREAM));
  Taken request = next_of(tap, IPPROTO_TCP);
  ASSERT_FALSE(request.bytes.empty());
  sender.answer(net::ReplyKind::tcp_reset, request.diverted(), flow::Instant{});
  EXPECT_EQ(error_of(client), ECONNREFUSED);
  EXPECT_EQ(sender.counts().sent, 1u);
}

TEST_P(Replies, WithoutTheMarkThereIsNoRouteHere) {
  queue::ReplySender sender({.mark = 0});
  const Descriptor tap(wire_tap()), client(connecting(SOCK_DGRAM));
  ASSERT_EQ(::send(client, "ask", 3, 0), 3) << std::strerror(errno);
  Taken request = next_of(tap, IPPROTO_UDP);
  ASSERT_FALSE(request.bytes.empty());
  sender.answer(net::ReplyKind::port_unreachable, request.diverted(), flow::Instant{});
  const bool needs_no_route = ends().client.starts_with("fe80");  // a link-local address
  EXPECT_EQ(sender.counts().sent, needs_no_route ? 1u : 0u);
  EXPECT_EQ(sender.counts().failed, needs_no_route ? 0u : 1u);
}

const Case kCases[] = {{"v4", "198.51.100.7", "10.96.0.1"},
                       {"v6", "2001:db8:7::7", "fd00:96::1"},
                       {"v6_link_local", "fe80::7", "fd00:96::1"}};
INSTANTIATE_TEST_SUITE_P(Wire, Replies,
                         testing::Combine(testing::Values(Privilege::as_is, Privilege::rootless),
                                          testing::ValuesIn(kCases)),
                         [](const auto& of) {
                           return std::get<Case>(of.param).name +
                                  (std::get<Privilege>(of.param) == Privilege::as_is ? "_as_is" : "_rootless");
                         });

TEST(RepliesWithoutPrivilege, AreAWarningAndCountedAsFailed) {
  if (const std::string reason = enter_private_network(Privilege::rootless); !reason.empty()) GTEST_SKIP() << reason;
  ASSERT_EQ(::unshare(CLONE_NEWUSER), 0) << std::strerror(
      errno);  // a new user namespace has no power over this network
  queue::ReplySender sender({.mark = kMark});
  ASSERT_EQ(sender.warnings().size(), 2u);
  EXPECT_NE(sender.warnings()[0].find("IPv4"), std::string::npos);
  EXPECT_NE(sender.warnings()[0].find("timeout instead of a refusal"), std::string::npos);
  std::vector<std::byte> request =
      bytes_of(std::string("\x45\0\0\x1c\0\0\0\0\x40\x11\0\0\x0a\1\0\7\x0a\x60\0\1\0\1\0\2\0\x08\0\0", 28));
  sender.answer(net::ReplyKind::port_unreachable, {.bytes = request}, flow::Instant{});
  EXPECT_EQ(sender.counts().failed, 1u);
}

}  // namespace
}  // namespace limpet::test
