// NodeMonitor against a kernel whose addresses, routes and interfaces change.
#include <string>

#include <gtest/gtest.h>
#include <net/if.h>
#include <poll.h>

#include "lb/node/local_ports.h"
#include "lb/node/node_monitor.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

net::Address ip(const char* text) {
  return *net::Address::parse(text);
}

class Monitor : public testing::TestWithParam<Privilege> {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
    must("ip link add name ifa type veth peer name ifb");
    must("ip link set ifa up");
    must("ip link set ifb up");
  }
};

node::NodeView view(const node::NodeMonitor& monitor) {
  auto taken = monitor.snapshot();
  EXPECT_TRUE(taken) << taken.error().message;
  return taken ? *taken : node::NodeView();
}

/// Becomes readable within the limit?
bool notified(const node::NodeMonitor& monitor) {
  pollfd entry{.fd = monitor.descriptor(), .events = POLLIN, .revents = 0};
  return ::poll(&entry, 1, 5000) == 1;
}

TEST_P(Monitor, FollowsAddressesRoutesAndInterfaces) {
  auto monitor = node::NodeMonitor::open();
  ASSERT_TRUE(monitor) << monitor.error().message;
  EXPECT_FALSE(monitor->drain()) << "nothing has changed yet";
  EXPECT_FALSE(view(*monitor).is_local(ip("10.1.0.1")));

  must("ip addr add 10.1.0.1/24 dev ifa");
  ASSERT_TRUE(notified(*monitor));
  EXPECT_TRUE(monitor->drain());
  EXPECT_FALSE(monitor->drain()) << "drained already";
  EXPECT_TRUE(view(*monitor).is_local(ip("10.1.0.1")));
  EXPECT_FALSE(view(*monitor).primary(net::Family::v4));

  must("ip route add default via 10.1.0.254");
  ASSERT_TRUE(notified(*monitor));
  EXPECT_TRUE(monitor->drain());
  EXPECT_EQ(view(*monitor).primary(net::Family::v4), ip("10.1.0.1"));
  EXPECT_EQ(view(*monitor).route_to(ip("198.51.100.1"))->gateway, ip("10.1.0.254"));

  must("ip addr add fd00:1::1/64 dev ifa nodad");
  ASSERT_TRUE(notified(*monitor));
  EXPECT_TRUE(monitor->drain());
  EXPECT_TRUE(view(*monitor).is_local(ip("fd00:1::1")));
  EXPECT_EQ(view(*monitor).route_to(ip("fd00:1::9"))->interface, if_nametoindex("ifa"));

  must("ip link add name ifc type veth peer name ifd");
  ASSERT_TRUE(notified(*monitor));
  EXPECT_TRUE(monitor->drain());
  EXPECT_EQ(view(*monitor).interface_name(if_nametoindex("ifc")), "ifc");

  must("ip addr del 10.1.0.1/24 dev ifa");
  ASSERT_TRUE(notified(*monitor));
  EXPECT_TRUE(monitor->drain());
  EXPECT_FALSE(view(*monitor).is_local(ip("10.1.0.1")));
  EXPECT_FALSE(view(*monitor).primary(net::Family::v4)) << "the route went with its address";
}

TEST_P(Monitor, ReadsMoreThanOneDatagramOfEverything) {
  constexpr int kInterfaces = 150;
  constexpr int kRoutes = 2000;
  std::string batch;
  for (int i = 0; i < kInterfaces; ++i) {
    const std::string n = std::to_string(i);
    batch += "link add name v" + n + " type veth peer name w" + n + "\naddr add 10.1." + n + ".1/24 dev v" + n + "\n";
  }
  for (int i = 0; i < kRoutes; ++i) {
    batch += "route add 172.16." + std::to_string(i / 256) + "." + std::to_string(i % 256) + "/32 dev ifa\n";
  }
  const auto done = divert::run({"ip", "-batch", "-"}, batch);
  ASSERT_TRUE(done && done->ok()) << done->err;

  const auto monitor = node::NodeMonitor::open();
  ASSERT_TRUE(monitor) << monitor.error().message;
  const node::NodeView node = view(*monitor);
  for (int i = 0; i < kInterfaces; ++i) {
    const std::string n = std::to_string(i);
    EXPECT_TRUE(node.is_local(ip(("10.1." + n + ".1").c_str()))) << i;
    EXPECT_EQ(node.interface_name(if_nametoindex(("w" + n).c_str())), "w" + n);
  }
  EXPECT_NE(node.route_to(ip("172.16.0.0")), nullptr);
  EXPECT_NE(node.route_to(ip("172.16.7.207")), nullptr) << "the last of 2000";
  EXPECT_EQ(node.route_to(ip("172.16.7.208")), nullptr);
}

TEST_P(Monitor, AFullSocketCountsAsAChange) {
  auto monitor = node::NodeMonitor::open();
  ASSERT_TRUE(monitor) << monitor.error().message;
  std::string batch;
  for (int i = 0; i < 3000; ++i) {
    batch += "addr add 10." + std::to_string(i / 256) + "." + std::to_string(i % 256) + ".1/32 dev ifa\n";
  }
  const auto done = divert::run({"ip", "-batch", "-"}, batch);
  ASSERT_TRUE(done && done->ok()) << done->err;
  EXPECT_TRUE(monitor->drain());
  EXPECT_FALSE(monitor->drain());
  EXPECT_TRUE(view(*monitor).is_local(ip("10.11.183.1"))) << "the last of 3000";
}

TEST_P(Monitor, ReadsTheLocalPortRange) {
  // "9000 9999" as one argument: no shell, so no quotes.
  const auto set = divert::run({"sysctl", "-q", "-w", "net.ipv4.ip_local_port_range=9000 9999"});
  ASSERT_TRUE(set && set->ok());
  const auto ports = node::read_local_ports();
  ASSERT_TRUE(ports) << ports.error().message;
  EXPECT_EQ(*ports, (node::LocalPorts{9000, 9999}));
}

INSTANTIATE_TEST_SUITE_P(Node, Monitor, testing::Values(Privilege::as_is, Privilege::rootless), [](const auto& test) {
  return std::string(test.param == Privilege::as_is ? "Root" : "Rootless");
});

}  // namespace
}  // namespace limpet::test
