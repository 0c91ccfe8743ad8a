// Which packets the rules bring to the queue, at which hooks, and what becomes of them when nobody reads it.
//
//   outside 10.1.0.2 ──── 10.1.0.1 node 10.2.0.1 ──── 10.2.0.2 pod, a UDP echo at port 53        (fd00:1::, fd00:2::
//   alike) VIP 10.96.0.1:80 (fd00:96::1), which no route of the node covers
#include <array>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lb/divert/diverter.h"
#include "tests/wire/divert_private_network.h"
#include "tests/wire/divert_translator.h"

namespace limpet::test {
namespace {

struct Names {
  const char* node_outside;
  const char* outside;
  const char* node_pod;
  const char* pod;
  const char* length;
  const char* endpoint;
  const char* vip;
};
constexpr Names kV4{"10.1.0.1", "10.1.0.2", "10.2.0.1", "10.2.0.2", "/24", "10.2.0.2:53", "10.96.0.1:80"};
constexpr Names kV6{"fd00:1::1", "fd00:1::2", "fd00:2::1", "fd00:2::2", "/64", "[fd00:2::2]:53", "[fd00:96::1]:80"};

struct Sockaddr {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Sockaddr to_sockaddr(const net::AddressPort& at) {
  Sockaddr to;
  if (at.address.is_v4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(at.port);
    std::memcpy(&in.sin_addr, at.address.bytes().data(), 4);
    std::memcpy(&to.storage, &in, to.length = sizeof in);
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(at.port);
    std::memcpy(&in.sin6_addr, at.address.bytes().data(), 16);
    std::memcpy(&to.storage, &in, to.length = sizeof in);
  }
  return to;
}

constexpr std::size_t kSmall = 5;
constexpr std::size_t kThreeFragments = 3000;  // where an Ethernet frame holds 1500

/// A datagram to `at` and back: 0 if it was answered from there, else the errno (EAGAIN: no answer in time).
int ask(const net::AddressPort& at, int limit_ms, std::size_t size = kSmall) {
  const Sockaddr to = to_sockaddr(at);
  const int fd = ::socket(to.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  std::string text(size, 'x');
  const auto length = static_cast<ssize_t>(size);
  pollfd entry{.fd = fd, .events = POLLIN, .revents = 0};
  int error = 0;
  if (::connect(fd, to.get(), to.length) != 0 || ::send(fd, text.data(), size, 0) != length) {
    error = errno;
  } else if (::poll(&entry, 1, limit_ms) != 1) {
    error = EAGAIN;
  } else if (::recv(fd, text.data(), size, 0) != length) {
    error = errno;
  }
  ::close(fd);
  return error;
}

bool enter(const char* name) {
  const int fd = ::open((std::string("/run/netns/") + name).c_str(), O_RDONLY | O_CLOEXEC);
  return fd >= 0 && ::setns(fd, CLONE_NEWNET) == 0;
}

/// ask() from another network namespace.
int ask_from(const char* name, const net::AddressPort& at, int limit_ms, std::size_t size = kSmall) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(enter(name) ? ask(at, limit_ms, size) : 255);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

/// Echoes datagrams at port 53 of both families, in namespace "pod", until killed. Listening on return.
pid_t start_echo() {
  std::array<int, 2> ready;
  if (::pipe2(ready.data(), O_CLOEXEC) != 0) return -1;
  const pid_t child = ::fork();
  if (child == 0) {
    const int fd = enter("pod") ? ::socket(AF_INET6, SOCK_DGRAM, 0) : -1;
    const Sockaddr any = to_sockaddr(*net::AddressPort::parse("[::]:53"));
    if (fd < 0 || ::bind(fd, any.get(), any.length) != 0 || ::write(ready[1], "", 1) != 1) ::_exit(1);
    for (;;) {
      char text[4096];
      Sockaddr from;
      from.length = sizeof from.storage;
      const ssize_t n = ::recvfrom(fd, text, sizeof text, 0, reinterpret_cast<sockaddr*>(&from.storage), &from.length);
      if (n >= 0) ::sendto(fd, text, static_cast<std::size_t>(n), 0, from.get(), from.length);
    }
  }
  ::close(ready[1]);
  char byte;
  EXPECT_EQ(::read(ready[0], &byte, 1), 1) << "the echo did not start";
  ::close(ready[0]);
  return child;
}

/// That the kernel tracks.
int connections() {
  std::ifstream file("/proc/sys/net/netfilter/nf_conntrack_count");
  int count = 0;
  file >> count;
  return count;
}

constexpr int kPatience = 5000;  // ms; for what must come
constexpr int kSilence = 300;    // ms; for what must not

struct Case {
  const char* name;
  const Names& names;
  divert::Sets sets;
  Privilege privilege;
  friend void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }
};

class Packets : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(GetParam().privilege); !reason.empty()) GTEST_SKIP() << reason;
    link("outside", names_.node_outside, names_.outside);
    link("pod", names_.node_pod, names_.pod);
    must("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
    echo_ = start_echo();
    ASSERT_EQ(ask_from("outside", endpoint_, kPatience), 0) << "the network itself works";
  }
  void TearDown() override {
    if (echo_ <= 0) return;
    ::kill(echo_, SIGKILL);
    ::waitpid(echo_, nullptr, 0);
  }

  /// A namespace beside the node, its default route through it.
  void link(const std::string& name, const std::string& near, const std::string& far) {
    must("ip netns add " + name);
    must("ip link add name to-" + name + " type veth peer name eth0 netns " + name);
    const std::string nodad = near.find(':') != near.npos ? " nodad" : "";
    must("ip addr add " + near + names_.length + " dev to-" + name + nodad);
    // Link-local addresses of our own: neighbour discovery would wait seconds for the generated ones.
    must("ip link set to-" + name + " addrgenmode none");
    must("ip addr add fe80::1/64 dev to-" + name + " nodad");
    must("ip -n " + name + " link set eth0 addrgenmode none");
    must("ip -n " + name + " addr add fe80::2/64 dev eth0 nodad");
    must("ip link set to-" + name + " up");
    must("ip -n " + name + " addr add " + far + names_.length + " dev eth0" + nodad);
    must("ip -n " + name + " link set eth0 up");
    must("ip -n " + name + " route add default via " + near);
  }

  void apply(divert::OnDeath on_death = divert::OnDeath::hold) {
    const divert::Options options{.sets = GetParam().sets, .on_death = on_death};
    // Not the address that the route to the endpoint would give.
    const auto node = *net::Address::parse(names_.node_outside);
    const divert::RouteSources sources =
        node.is_v4() ? divert::RouteSources{.v4 = node} : divert::RouteSources{.v6 = node};
    auto diverter = divert::Diverter::open(options);
    ASSERT_TRUE(diverter) << diverter.error().message;
    const datapath::DiversionPlan plan{
        .services = {{net::Protocol::udp, vip_}},
        .endpoints = {{net::Protocol::udp, endpoint_}},
        .locals = {*net::Address::parse(names_.node_outside), *net::Address::parse(names_.node_pod)}};
    const auto applied = diverter->apply(plan, sources);
    ASSERT_TRUE(applied) << applied.error().message;
  }

  const Names& names_ = GetParam().names;
  const net::AddressPort vip_ = *net::AddressPort::parse(names_.vip);
  const net::AddressPort endpoint_ = *net::AddressPort::parse(names_.endpoint);
  pid_t echo_ = -1;
};

TEST_P(Packets, ARemoteClientIsServed) {
  const Translator translator(vip_, endpoint_);
  apply();
  EXPECT_EQ(ask_from("outside", vip_, kPatience), 0);
  EXPECT_EQ(translator.hooks(), "prerouting postrouting ");
}

TEST_P(Packets, ALocalClientIsServedThroughTheRouteOfTheVip) {
  EXPECT_EQ(ask(vip_, kSilence), ENETUNREACH) << "no route covers the VIP";
  const Translator translator(vip_, endpoint_);
  apply();
  EXPECT_NE(must("ip route get " + vip_.address.to_string()).find(std::string(" src ") + names_.node_outside + " "),
            std::string::npos);
  EXPECT_EQ(ask(vip_, kPatience), 0);
  EXPECT_EQ(translator.hooks(), "output prerouting input ") << "a reply is seen at PREROUTING: it could be masqueraded";
}

TEST_P(Packets, OthersPassUnseen) {
  const Translator translator(vip_, vip_);  // translates nothing: it keeps no flows to tell a direct reply by
  apply();
  const net::AddressPort other_port{vip_.address, 81};
  EXPECT_NE(ask_from("outside", other_port, kSilence), 0);
  EXPECT_EQ(translator.hooks(), "output postrouting ") << "only the ICMP error that the node answers with";
  EXPECT_EQ(ask_from("outside", endpoint_, kPatience), 0) << "direct traffic goes on";
  EXPECT_EQ(translator.hooks(), "output postrouting postrouting ") << "its reply looks like an endpoint's";
}

TEST_P(Packets, FragmentsArriveWhereNothingIsTracked) {
  EXPECT_EQ(ask_from("outside", endpoint_, kPatience, kThreeFragments), 0) << "the network itself works";
  const Translator translator(vip_, endpoint_);
  apply();
  EXPECT_EQ(ask_from("outside", vip_, kPatience, kThreeFragments), 0);
  EXPECT_EQ(translator.hooks(), "prerouting postrouting ") << "whole ones";
  EXPECT_EQ(connections(), 0);
}

TEST_P(Packets, FragmentsOfDirectTrafficPassUnchanged) {
  const Translator translator(vip_, vip_);  // translates nothing
  apply();
  EXPECT_EQ(ask_from("outside", endpoint_, kPatience, kThreeFragments), 0);
  EXPECT_EQ(translator.hooks(), "postrouting ") << "whole, its reply looks like an endpoint's";
  EXPECT_EQ(connections(), 0);
}

TEST_P(Packets, WithoutAReaderRequestsAndRepliesWait) {
  apply(divert::OnDeath::hold);
  EXPECT_EQ(ask_from("outside", vip_, kSilence), EAGAIN);
  EXPECT_EQ(ask_from("outside", endpoint_, kSilence), EAGAIN) << "direct traffic stalls, too";
}

TEST_P(Packets, WithoutAReaderRepliesPassIfSoChosen) {
  apply(divert::OnDeath::bypass);
  EXPECT_EQ(ask_from("outside", vip_, kSilence), EAGAIN) << "requests wait all the same";
  EXPECT_EQ(ask_from("outside", endpoint_, kPatience), 0);
}

const Case kCases[] = {{"V4Sets", kV4, divert::Sets::automatic, Privilege::as_is},
                       {"V4Plain", kV4, divert::Sets::never, Privilege::as_is},
                       {"V6Sets", kV6, divert::Sets::automatic, Privilege::as_is},
                       {"V6Plain", kV6, divert::Sets::never, Privilege::as_is},
                       {"V4SetsRootless", kV4, divert::Sets::automatic, Privilege::rootless}};
INSTANTIATE_TEST_SUITE_P(Divert, Packets, testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

}  // namespace
}  // namespace limpet::test
