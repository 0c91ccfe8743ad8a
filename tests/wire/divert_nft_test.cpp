// The nft back-end against the kernel. Where the kernel has no `queue` expression, everything but that is tried: a
// stand-in for nft, first in PATH, writes `counter` in its place, and the counters tell which packets the rules meet.
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lb/divert/diverter.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::test {
namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using divert::Backend;
using divert::Diverter;
using divert::Options;
using net::Protocol;

L4Address at(Protocol protocol, const char* where) {
  return {protocol, *net::AddressPort::parse(where)};
}
net::Address ip(const char* text) {
  return *net::Address::parse(text);
}

DiversionPlan both_families() {
  return {.services = {at(Protocol::icmp, "10.96.0.1:2048"), at(Protocol::tcp, "10.96.0.1:80"),
                       at(Protocol::udp, "10.96.0.1:53"), at(Protocol::icmp6, "[fd00:96::1]:32768"),
                       at(Protocol::tcp, "[fd00:96::1]:80"), at(Protocol::udp, "[fd00:96::1]:53")},
          .endpoints = {at(Protocol::udp, "10.2.0.2:53"), at(Protocol::udp, "[fd00:2::2]:53")},
          .locals = {ip("10.1.0.1"), ip("fd00:1::1")}};
}

/// The packets that the chain's rule with that text has met; -1: there is no such rule.
int met(const std::string& family, const std::string& chain, const std::string& text) {
  std::istringstream lines(must("nft -n list chain " + family + " limpet " + chain));
  for (std::string line; std::getline(lines, line);) {
    const auto found = line.find("packets ");
    if (line.find(text) != line.npos && found != line.npos) return std::atoi(line.c_str() + found + 8);
  }
  return -1;
}

/// All tables, without packet counts.
std::string ruleset() {
  return must("nft -s list ruleset");
}

/// A machine with two interfaces; on each a neighbour that cannot be there, its address known by heart.
void set_up_node() {
  for (const char* number : {"1", "2"}) {
    const std::string n = number;
    must("ip link add name if" + n + " type veth peer name far" + n);
    for (const std::string& device : {"if" + n, "far" + n}) {
      must("ip link set " + device + " addrgenmode none");
      must("ip link set " + device + " up");
    }
    must("ip addr add 10." + n + ".0.1/24 dev if" + n);
    must("ip addr add fd00:" + n + "::1/64 dev if" + n + " nodad");
    must("ip neigh add 10." + n + ".0.2 lladdr 02:00:00:00:00:02 dev if" + n);
    must("ip neigh add fd00:" + n + "::2 lladdr 02:00:00:00:00:02 dev if" + n);
  }
  must("ip route add 10.96.0.0/16 via 10.1.0.2");
  must("ip route add fd00:96::/64 via fd00:1::2");
  must("sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
}

/// Put `nft` before the real one in PATH: `queue …` becomes `counter`.
void stand_in() {
  const std::string folder = "/run/stand-in";
  const std::string path = std::getenv("PATH") != nullptr ? std::getenv("PATH") : "";
  if (path.starts_with(folder + ":")) return;  // an earlier test of this process: it would call itself for ever
  ASSERT_EQ(::mkdir(folder.c_str(), 0755), 0);
  std::ofstream script(folder + "/nft");
  script << "#!/bin/sh\nPATH=" << path << ":/usr/sbin:/sbin\n"
         << "case \" $* \" in *' -f - '*) sed 's/queue num.*/counter/' | nft \"$@\" ;; *) exec nft \"$@\" ;; esac\n";
  script.close();
  ASSERT_EQ(::chmod((folder + "/nft").c_str(), 0755), 0);
  ::setenv("PATH", (folder + ":" + path).c_str(), 1);
}

/// Packets in scapy's words, separated by commas, and the device that they are sent from: the far end of the node's.
struct Injection {
  std::string device;
  std::string packets;
};

/// Send them, all in one run: scapy starts slowly.
void inject(const std::vector<Injection>& injections) {
  std::string program = R"(
from scapy.all import *
conf.verb = 0
def inject(device, packets):
    ether = Ether(dst=get_if_hwaddr(device.replace("far", "if")), src="02:00:00:00:00:02")
    for packet in packets:
        sendp([ether / part for part in (packet if isinstance(packet, list) else [packet])], iface=device)
)";
  for (const Injection& one : injections) program += "inject('" + one.device + "', [" + one.packets + "])\n";
  const auto sent = divert::run({"/usr/bin/python3", "-c", program});
  ASSERT_TRUE(sent) << sent.error().message;
  ASSERT_TRUE(sent->ok()) << sent->err;
}

/// What both families are tried with.
struct Words {
  const char* family;
  const char* outside;
  const char* pod;
  const char* node;
  const char* vip;
  const char* layer;  // scapy's
  bool is_v4() const { return layer == std::string("IP"); }
  std::string from_to(const char* source, const char* destination) const {
    return std::string(layer) + "(src='" + source + "',dst='" + destination + "')";
  }
};
constexpr Words kV4{"ip", "10.1.0.2", "10.2.0.2", "10.1.0.1", "10.96.0.1", "IP"};
constexpr Words kV6{"ip6", "fd00:1::2", "fd00:2::2", "fd00:1::1", "fd00:96::1", "IPv6"};

class Nft : public testing::TestWithParam<Privilege> {
 protected:
  void SetUp() override {
    if (const std::string reason = enter_private_network(GetParam()); !reason.empty()) GTEST_SKIP() << reason;
    set_up_node();
    stand_in();
    must("nft add table ip others");
    before_ = ruleset();
  }
  static Diverter open(Options options = {}) {
    options.backend = Backend::nft;
    options.queue_count = 2;
    auto diverter = Diverter::open(options);
    EXPECT_TRUE(diverter) << diverter.error().message;
    return std::move(*diverter);
  }
  static void apply(Diverter& diverter, const DiversionPlan& plan) {
    const auto applied = diverter.apply(plan);
    ASSERT_TRUE(applied) << applied.error().message;
    EXPECT_EQ(*applied, divert::Warnings{});
  }
  std::string before_;
};

TEST_P(Nft, AppliesUpdatesAndRemoves) {
  Diverter diverter = open();
  apply(diverter, both_families());
  EXPECT_EQ(diverter.backend(), "nft");
  EXPECT_TRUE(*diverter.diverts());
  const std::string once = ruleset();
  apply(diverter, both_families());
  EXPECT_EQ(ruleset(), once) << "applying twice is applying once";

  DiversionPlan changed = both_families();
  changed.services[1] = at(Protocol::tcp, "10.96.0.1:81");
  changed.endpoints.insert(changed.endpoints.begin(), at(Protocol::sctp, "10.2.0.2:54"));
  ASSERT_TRUE(diverter.update(changed));
  const std::string updated = ruleset();
  EXPECT_NE(updated, once);
  must("nft flush set ip limpet services");  // by another hand: the next difference does not fit
  ASSERT_TRUE(diverter.update(both_families()));
  EXPECT_EQ(ruleset(), once);
  ASSERT_TRUE(diverter.update(changed));

  ASSERT_TRUE(diverter.remove_requests());
  EXPECT_EQ(met("ip", "prerouting", "@services"), -1);
  EXPECT_EQ(met("ip6", "output", "@services"), -1);
  EXPECT_EQ(met("ip6", "postrouting", "@endpoints"), 0) << "replies are still translated";
  ASSERT_TRUE(diverter.remove_replies());
  EXPECT_EQ(ruleset(), before_);
  EXPECT_FALSE(*diverter.diverts());
}

TEST_P(Nft, AnUpdateKeepsTheChains) {
  Diverter diverter = open();
  apply(diverter, both_families());
  const std::string handles = must("nft -a list chain ip limpet prerouting");
  DiversionPlan changed = both_families();
  changed.endpoints = {at(Protocol::udp, "10.2.0.3:53"), at(Protocol::udp, "[fd00:2::2]:53")};
  ASSERT_TRUE(diverter.update(changed));
  EXPECT_EQ(must("nft -a list chain ip limpet prerouting"), handles) << "elements changed, rules did not";
  apply(diverter, changed);
  const std::string first = "chain prerouting { # handle ";
  const std::string renewed = must("nft -a list chain ip limpet prerouting");
  const auto chain = [&](const std::string& text) { return text.substr(text.find(first), first.size() + 3); };
  EXPECT_EQ(chain(renewed), chain(handles)) << "a base chain that is made anew drops what queues hold";
}

TEST_P(Nft, FamiliesComeAndGoAndOthersLeavingsGo) {
  DiversionPlan only_v4 = both_families();
  std::erase_if(only_v4.services, [](const L4Address& entry) { return !entry.at.address.is_v4(); });
  std::erase_if(only_v4.endpoints, [](const L4Address& entry) { return !entry.at.address.is_v4(); });
  auto other = Diverter::open({.backend = Backend::iptables, .short_list = 0});
  ASSERT_TRUE(other) << other.error().message;
  ASSERT_TRUE(other->apply(both_families()));
  Diverter diverter = open();
  apply(diverter, only_v4);
  EXPECT_EQ(attempt("ipset list -n"), "") << "the sets of iptables' rules went with them";
  EXPECT_EQ(attempt("iptables-save").find("LIMPET"), std::string::npos);
  EXPECT_EQ(attempt("nft list table ip6 limpet"), "");
  ASSERT_TRUE(diverter.update(both_families()));
  EXPECT_NE(attempt("nft list table ip6 limpet"), "");
  ASSERT_TRUE(other->apply(both_families()));
  EXPECT_EQ(attempt("nft list table ip limpet"), "") << "and the other way round";
}

TEST_P(Nft, RouteLocalnetIsSetBehindAGuardAndSetBack) {
  const auto setting = [] { return must("sysctl -n net.ipv4.conf.all.route_localnet"); };
  Diverter diverter = open({.localhost_node_ports = true});
  apply(diverter, both_families());
  apply(diverter, both_families());
  EXPECT_EQ(setting(), "1\n");
  inject({{"far1",
           "IP(src='10.1.0.2',dst='127.0.0.1')/UDP(sport=1,dport=2),"
           "IP(src='127.0.0.1',dst='10.96.0.1')/UDP(sport=1,dport=53)"}});
  EXPECT_EQ(met("ip", "prerouting", "@services"), 0) << "dropped before";
  ASSERT_TRUE(diverter.remove_requests());
  EXPECT_EQ(setting(), "1\n");
  ASSERT_TRUE(open().remove_replies()) << "by another process";
  EXPECT_EQ(setting(), "0\n");
  EXPECT_EQ(ruleset(), before_);
}

/// Sends packets, which takes longest: once.
class NftPackets : public Nft {};

TEST_P(NftPackets, RulesMeetTheRightPackets) {
  for (const char* of : {"all", "if1", "if2"}) {  // redirects of the node's own would be met as well
    must(std::string("sysctl -qw net.ipv4.conf.") + of + ".send_redirects=0");
  }
  Diverter diverter = open({.direct = true});
  apply(diverter, both_families());
  std::vector<Injection> injections;
  for (const Words& w : {kV4, kV6}) {
    const std::string echo = w.is_v4() ? "ICMP(type=8)" : "ICMPv6EchoRequest()";
    const std::string error = w.is_v4() ? "ICMP(type=3,code=3)/('x'*28)" : "ICMPv6DestUnreach()/('x'*48)";
    injections.push_back({"far1", w.from_to(w.outside, w.vip) + "/UDP(sport=9,dport=53)," +      // a request
                                      w.from_to(w.outside, w.vip) + "/TCP(sport=9,dport=80)," +  // another
                                      w.from_to(w.outside, w.vip) + "/UDP(sport=9,dport=80)," +  // no service
                                      w.from_to(w.outside, w.pod) + "/UDP(sport=9,dport=53)," +  // direct
                                      w.from_to(w.outside, w.vip) + "/" + echo});
    injections.push_back({"far2", w.from_to(w.pod, w.outside) + "/UDP(sport=53,dport=9)," +   // a reply
                                      w.from_to(w.pod, w.node) + "/UDP(sport=53,dport=9)," +  // of a masqueraded flow
                                      w.from_to(w.pod, w.outside) + "/" + error});
  }
  inject(injections);
  for (const Words& w : {kV4, kV6}) {
    const auto expect = [&](const std::string& chain, const std::string& text, int expected) {
      for (int i = 0; i < 100 && met(w.family, chain, text) < expected; ++i) ::usleep(10'000);
      EXPECT_EQ(met(w.family, chain, text), expected) << w.family << " " << chain << " " << text;
    };
    expect("prerouting", "dport @services", 2);
    expect("prerouting", "@echoes", 1);
    expect("prerouting", "sport @endpoints", 1);
    expect("prerouting", "dport @endpoints", 1);
    expect("prerouting", "type {", 1);
    expect("input", "sport @endpoints", 1);
    expect("postrouting", "sport @endpoints", 1);
    // Nobody listens at the node's port 9, and the node says so.
    expect("output", "type {", 1);
    expect("postrouting", "type {", 2);
  }
}

TEST_P(NftPackets, LaterFragmentsAreMetByTheirAddresses) {
  for (const bool together : {true, false}) {
    Diverter diverter = open({.defragment = together ? divert::Defragment::automatic : divert::Defragment::never});
    apply(diverter, both_families());
    std::vector<Injection> injections;
    for (const Words& w : {kV4, kV6}) {
      // Three fragments: 3,000 bytes of which each carries at most 1,480.
      const auto cut = [&](const std::string& packet, const std::string& rest) {
        return w.is_v4() ? "fragment(" + packet + rest + ",fragsize=1480)"
                         : "fragment6(" + packet + "/IPv6ExtHdrFragment(id=7)" + rest + ",1500)";
      };
      injections.push_back({"far1", cut(w.from_to(w.outside, w.vip), "/UDP(sport=9,dport=53)/('x'*3000)")});
      injections.push_back({"far2", cut(w.from_to(w.pod, w.outside), "/UDP(sport=53,dport=9)/('x'*3000)")});
    }
    inject(injections);
    ::usleep(100'000);
    for (const Words& w : {kV4, kV6}) {
      EXPECT_EQ(met(w.family, "prerouting", "dport @services"), 1) << w.family << ": whole, or the first fragment";
      EXPECT_EQ(met(w.family, "prerouting", "@vips"), together ? -1 : 2) << w.family;
      EXPECT_EQ(met(w.family, "postrouting", "sport @endpoints"), 1) << w.family;
      EXPECT_EQ(met(w.family, "postrouting", "@hosts"), together ? -1 : 2) << w.family;
    }
    ASSERT_TRUE(diverter.remove_requests());
    ASSERT_TRUE(diverter.remove_replies());
  }
  EXPECT_EQ(must("sysctl -n net.netfilter.nf_conntrack_count"), "0\n");
}

INSTANTIATE_TEST_SUITE_P(Divert, Nft, testing::Values(Privilege::as_is, Privilege::rootless), [](const auto& test) {
  return std::string(test.param == Privilege::as_is ? "AsIs" : "Rootless");
});
INSTANTIATE_TEST_SUITE_P(Divert, NftPackets, testing::Values(Privilege::as_is));

// The text as it is: where the kernel lacks `queue`, that is what is wrong with it, and nothing else.
TEST(NftQueue, WorksOrSaysWhatIsMissing) {
  if (const std::string reason = enter_private_network(Privilege::as_is); !reason.empty()) GTEST_SKIP() << reason;
  auto diverter = Diverter::open({.backend = Backend::nft});
  ASSERT_TRUE(diverter) << diverter.error().message;
  const bool has_queue = divert::run({"nft", "-c", "-f", "-"}, "table ip t { chain c {\nqueue num 0\n}\n}\n")->ok();
  const auto applied = diverter->apply(both_families());
  EXPECT_EQ(static_cast<bool>(applied), has_queue);
  if (applied) return;
  EXPECT_EQ(applied.error().kind, store::ErrorKind::unavailable);
  EXPECT_NE(applied.error().message.find("CONFIG_NFT_QUEUE"), std::string::npos) << applied.error().message;
  EXPECT_EQ(must("nft list ruleset"), "") << "nothing was begun";
}

}  // namespace
}  // namespace limpet::test
