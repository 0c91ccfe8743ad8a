#include "lb/divert/preflight.h"

#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <stdlib.h>

#include "tests/unit/divert/sample_plan.h"

namespace limpet::divert {
namespace {

namespace fs = std::filesystem;

/// A folder with a /proc and a /sys of its own.
class Preflight : public testing::Test {
 protected:
  Preflight() {
    std::string name = (fs::temp_directory_path() / "limpet-preflight-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
  }
  ~Preflight() override { fs::remove_all(root_); }

  void set(const char* file, const char* text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << "\n";
  }
  /// The names that the warnings begin with.
  std::string warned(const datapath::DiversionPlan& plan) {
    std::string names;
    for (const std::string& warning : preflight(plan, devices_, root_))
      names += warning.substr(0, warning.find(' ')) + " ";
    return names;
  }

  fs::path root_;
  std::vector<node::DeviceLimits> devices_{{"eth0", 65536, 65536, 65536, 65536}};
};

TEST_F(Preflight, SilentWhereAllIsWell) {
  set("proc/sys/net/ipv4/ip_forward", "1");
  set("proc/sys/net/ipv6/conf/all/forwarding", "1");
  set("proc/sys/net/bridge/bridge-nf-call-iptables", "1");
  set("proc/sys/net/bridge/bridge-nf-call-ip6tables", "1");
  set("sys/class/net/br0/bridge/stp_state", "0");
  EXPECT_EQ(warned(test::sample_plan()), "");
}

TEST_F(Preflight, SilentWithoutServices) {
  set("proc/sys/net/ipv4/ip_forward", "0");
  EXPECT_EQ(warned({}), "");
}

TEST_F(Preflight, WarnsPerFamily) {
  set("proc/sys/net/ipv4/ip_forward", "0");
  set("proc/sys/net/ipv6/conf/all/forwarding", "0");
  auto plan = test::sample_plan();
  EXPECT_EQ(warned(plan), "net.ipv4.ip_forward net.ipv6.conf.all.forwarding ");
  plan.services = {test::tcp("[fd00:96::1]:80")};
  EXPECT_EQ(warned(plan), "net.ipv6.conf.all.forwarding ");
}

TEST_F(Preflight, WarnsOfBridgesThatBypassTheHooks) {
  set("sys/class/net/eth0/address", "02:00:00:00:00:01");
  EXPECT_EQ(warned(test::sample_plan()), "");
  set("sys/class/net/br0/bridge/stp_state", "0");
  set("proc/sys/net/bridge/bridge-nf-call-iptables", "0");
  EXPECT_EQ(warned(test::sample_plan()), "net.bridge.bridge-nf-call-iptables net.bridge.bridge-nf-call-ip6tables ");
}

TEST_F(Preflight, WarnsOfEndpointsOnLoopback) {
  set("proc/sys/net/ipv4/conf/all/route_localnet", "0");
  auto plan = test::sample_plan();
  EXPECT_EQ(warned(plan), "");
  plan.endpoints = {test::tcp("127.0.0.1:80")};
  EXPECT_EQ(warned(plan), "net.ipv4.conf.all.route_localnet ");
}

TEST_F(Preflight, WarnsOfPacketsThatAreTooLongForAQueue) {
  devices_.push_back({"eth1", 131072, 65536, 65536, 65536});
  EXPECT_EQ(
      preflight(test::sample_plan(), devices_, root_),
      std::vector<std::string>{"eth1 has gso_max_size 131072: longer packets than a queue carries come cut off, and "
                               "are dropped where they need translation; ip link set dev eth1 gso_max_size 65536"});
  EXPECT_EQ(warned({}), "");
}

}  // namespace
}  // namespace limpet::divert
