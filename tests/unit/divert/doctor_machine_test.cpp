#include "lb/divert/doctor_machine.h"

#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <stdlib.h>

#include "lb/divert/long_packets.h"

namespace limpet::divert {
namespace {

namespace fs = std::filesystem;

/// A folder with a /proc and a /sys of its own: a node on which all is well, until a test changes it.
class DoctorMachine : public testing::Test {
 protected:
  DoctorMachine() {
    std::string name = (fs::temp_directory_path() / "limpet-doctor-XXXXXX").string();
    root_ = ::mkdtemp(name.data());
    // linux/capability.h: CAP_NET_ADMIN is bit 12, CAP_NET_RAW bit 13.
    set("proc/self/status", "Name:\tlimpet\nCapEff:\t0000000000003000");
    set("proc/sys/net/ipv4/ip_forward", "1");
    set("proc/sys/net/ipv6/conf/all/forwarding", "1");
    set("proc/sys/net/ipv4/ip_local_port_range", "32768\t60999");
    set("proc/sys/net/core/rmem_max", "33554432");
    set("proc/sys/net/core/wmem_max", "262144");
    set("sys/class/net/eth0/mtu", "1500");
  }
  ~DoctorMachine() override { fs::remove_all(root_); }

  void set(const char* file, const char* text) {
    fs::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << text << "\n";
  }
  Check check(const std::string& name) {
    for (const Check& check : check_machine(root_)) {
      if (check.name == name) return check;
    }
    return {"", "no such check", CheckStatus::missing};
  }
  CheckStatus status(const std::string& name) { return check(name).status; }

  fs::path root_;
};

TEST_F(DoctorMachine, NothingNeedsAttentionWhereAllIsWell) {
  for (const Check& check : check_machine(root_)) {
    EXPECT_NE(check.status, CheckStatus::attention) << check.name << ": " << check.detail;
    EXPECT_EQ(check.group, "machine");
  }
}

TEST_F(DoctorMachine, LackingPrivilegesAreNamed) {
  set("proc/self/status", "CapEff:\t0000000000001000");
  EXPECT_EQ(status("privileges"), CheckStatus::attention);
  EXPECT_EQ(check("privileges").detail, "this process lacks CAP_NET_RAW");
  set("proc/self/status", "CapEff:\t0000000000000000");
  EXPECT_EQ(check("privileges").detail, "this process lacks CAP_NET_ADMIN, CAP_NET_RAW");
}

TEST_F(DoctorMachine, ForwardingThatIsOffNamesTheCommand) {
  set("proc/sys/net/ipv6/conf/all/forwarding", "0");
  EXPECT_EQ(status("net.ipv4.ip_forward"), CheckStatus::ok);
  const Check v6 = check("net.ipv6.conf.all.forwarding");
  EXPECT_EQ(v6.status, CheckStatus::attention);
  EXPECT_EQ(v6.remedy, "sysctl -w net.ipv6.conf.all.forwarding=1");
}

TEST_F(DoctorMachine, ASettingThatTheKernelLacksIsUnknown) {
  fs::remove_all(root_ / "proc/sys/net/ipv6");
  EXPECT_EQ(status("net.ipv6.conf.all.forwarding"), CheckStatus::unknown);
}

TEST_F(DoctorMachine, LocalPortsThatLeaveNoneToMasqueradeWith) {
  struct Row {
    const char* range;
    const char* left;  // of 1024-29999 (28976 ports) and 61000-65535 (4536)
    CheckStatus status;
  };
  const Row table[] = {
      {"32768\t60999", "leaves 33512 ", CheckStatus::ok},       // the kernel's default touches neither
      {"1024\t65535", "leaves 0 ", CheckStatus::attention},     // all
      {"1024\t60999", "leaves 4536 ", CheckStatus::ok},         // the upper ones stay
      {"1024\t61999", "leaves 3536 ", CheckStatus::attention},  // 65535 - 62000 + 1
      {"20000\t20009", "leaves 33502 ", CheckStatus::ok},       // ten in the middle
  };
  for (const Row& row : table) {
    set("proc/sys/net/ipv4/ip_local_port_range", row.range);
    const Check found = check("net.ipv4.ip_local_port_range");
    EXPECT_EQ(found.status, row.status) << row.range;
    EXPECT_NE(found.detail.find(row.left), std::string::npos) << found.detail;
  }
}

TEST_F(DoctorMachine, ABridgePastTheHooks) {
  EXPECT_EQ(status("bridges"), CheckStatus::ok);
  set("sys/class/net/cni0/bridge/bridge_id", "8000.000000000000");
  EXPECT_EQ(status("bridges"), CheckStatus::attention);
  EXPECT_EQ(check("bridges").detail, "cni0; no br_netfilter");
  set("proc/sys/net/bridge/bridge-nf-call-iptables", "1");
  set("proc/sys/net/bridge/bridge-nf-call-ip6tables", "0");
  EXPECT_EQ(status("bridges"), CheckStatus::attention);
  set("proc/sys/net/bridge/bridge-nf-call-ip6tables", "1");
  EXPECT_EQ(status("bridges"), CheckStatus::ok);
}

TEST_F(DoctorMachine, ConntrackIsAtWorkWhereItCounts) {
  EXPECT_EQ(check("conntrack in use").detail.substr(0, 13), "no: not there");
  set("proc/sys/net/netfilter/nf_conntrack_count", "0");
  EXPECT_EQ(check("conntrack in use").detail.substr(0, 15), "no: it is there");
  set("proc/sys/net/netfilter/nf_conntrack_count", "17");
  EXPECT_EQ(check("conntrack in use").detail.substr(0, 6), "yes: 1");
}

TEST(LongPackets, TheCommandNamesWhatMustBeLowered) {
  constexpr std::uint32_t kBig = 200000;
  struct Row {
    const char* name;
    node::DeviceLimits limits;
    const char* found;
    const char* remedy;
  };
  const Row table[] = {
      {"the default", {"v", 65536, 65536, 65536, 65536}, "", ""},
      {"the kernel does not tell", {"v", 0, 0, 0, 0}, "", ""},
      {"one more byte", {"v", 65537, 65536, 65536, 65536}, "gso_max_size 65537", " gso_max_size 65536"},
      {"receiving", {"v", 65536, kBig, 65536, 65536}, "gro_max_size 200000", " gro_max_size 65536"},
      // net/core/dev.h: setting gso_max_size to at most 65,536 sets gso_ipv4_max_size, too.
      {"all",
       {"v", kBig, kBig, kBig, kBig},
       "gso_max_size 200000, gro_max_size 200000, gso_ipv4_max_size 200000, gro_ipv4_max_size 200000",
       " gso_max_size 65536 gro_max_size 65536"},
      {"IPv4 alone",
       {"v", 65536, 65536, kBig, kBig},
       "gso_ipv4_max_size 200000, gro_ipv4_max_size 200000",
       " gso_ipv4_max_size 65536 gro_ipv4_max_size 65536"},
      {"crosswise",
       {"v", kBig, 65536, 65536, kBig},
       "gso_max_size 200000, gro_ipv4_max_size 200000",
       " gso_max_size 65536 gro_ipv4_max_size 65536"},
  };
  for (const Row& row : table) {
    const auto found = find_long_packets({row.limits});
    ASSERT_EQ(found.empty(), row.found == std::string()) << row.name;
    if (found.empty()) continue;
    EXPECT_EQ(found[0].device, "v") << row.name;
    EXPECT_EQ(found[0].limits, row.found) << row.name;
    EXPECT_EQ(found[0].remedy, std::string("ip link set dev v") + row.remedy) << row.name;
  }
}

TEST(LongPackets, ARowForAllDevices) {
  using Devices = std::vector<node::DeviceLimits>;
  EXPECT_EQ(check_long_packets(Devices{{"lo", 65536, 65536, 65536, 65536}}).status, CheckStatus::ok);
  const Check long_ones = check_long_packets(Devices{
      {"lo", 65536, 65536, 65536, 65536}, {"a", 131072, 65536, 65536, 65536}, {"b", 65536, 131072, 65536, 65536}});
  EXPECT_EQ(long_ones.status, CheckStatus::attention);
  EXPECT_EQ(long_ones.detail, "a has gso_max_size 131072; b has gro_max_size 131072");
  EXPECT_EQ(
      long_ones.remedy,
      "ip link set dev a gso_max_size 65536; ip link set dev b gro_max_size 65536; and the far ends of veth pairs "
      "likewise");
  const Check unread = check_long_packets(store::Error{store::ErrorKind::unavailable, "no netlink"});
  EXPECT_EQ(unread.status, CheckStatus::unknown);
  EXPECT_EQ(unread.detail, "no netlink");
}

}  // namespace
}  // namespace limpet::divert
