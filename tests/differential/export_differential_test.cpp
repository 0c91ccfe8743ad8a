// kube-proxy's recorded decisions (tests/data/README.md), asked of the kernel: it runs the rules that limpet exports.
//
//   outside ─ frames ─▶ gate ═ veth ═ eth0 ─ nat PREROUTING … ─▶ INPUT, or FORWARD ─▶ eth0: nobody there takes them
//   the node ─ raw socket ─────────────────▶ nat OUTPUT …     ─▶ eth0, or lo
//
//   each flow     so many first packets, each a connection of its own. Then the rules' counters tell
//   endpoints     DNAT's: which are chosen. Each expected one must be: of n one stays out in n (1 - 1/n)^(40 n)
//   affinity      what `recent` knows is forgotten before; then one endpoint of those must have taken all
//   masquerade    MASQUERADE's: all of them, or none
//   drop, reject  of the table filter; none: no counter of these has moved
//
// Loaded by iptables-restore and ip6tables-restore, of either variant. LIMPET_SCENARIOS names other files.
#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <set>
#include <string>
#include <thread>

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netpacket/packet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/support/packet_builder.h"
#include "tests/unit/kube/exported.h"
#include "tests/unit/service/scenario.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::kube::test {
namespace {

using limpet::test::attempt;
using limpet::test::must;
using nlohmann::json;

constexpr unsigned kPacketsPerEndpoint = 40;
constexpr unsigned char kNodesMac[ETH_ALEN] = {2, 0, 0, 0, 0, 1};

void set_sysctl(const std::string& name, const char* value) {
  std::ofstream file("/proc/sys/net/" + name);
  file << value << std::flush;
  EXPECT_TRUE(file.good()) << name;
}

/// What the counters of a program say of the packets that have met it.
struct Counts {
  std::uint64_t met = 0, masqueraded = 0, dropped = 0, rejected = 0;
  std::map<std::string, std::uint64_t> endpoints;

  std::uint64_t translated() const {
    std::uint64_t sum = 0;
    for (const auto& [endpoint, packets] : endpoints) sum += packets;
    return sum;
  }
  Counts operator-(const Counts& before) const {
    Counts result = *this;
    result.met -= before.met, result.masqueraded -= before.masqueraded;
    result.dropped -= before.dropped, result.rejected -= before.rejected;
    for (const auto& [endpoint, packets] : before.endpoints) result.endpoints[endpoint] -= packets;
    std::erase_if(result.endpoints, [](const auto& each) { return each.second == 0; });
    return result;
  }
};

void count(const rules::Rule& rule, bool base, Counts& counts) {
  const std::uint64_t packets = rule.counters.value_or(rules::Counters{}).packets;
  if (const auto* const dnat = std::get_if<rules::Dnat>(&rule.target)) {
    counts.endpoints[net::AddressPort{dnat->to.addresses->first, dnat->to.ports->first}.to_string()] += packets;
  } else if (const auto* const jump = std::get_if<rules::Jump>(&rule.target); jump != nullptr && base) {
    counts.met += jump->chain == "KUBE-SERVICES" ? packets : 0;
  }
  if (std::holds_alternative<rules::Masquerade>(rule.target)) counts.masqueraded += packets;
  if (std::holds_alternative<rules::Drop>(rule.target)) counts.dropped += packets;
  if (std::holds_alternative<rules::Reject>(rule.target)) counts.rejected += packets;
}

/// The kernel with a node's addresses.
class Node {
 public:
  explicit Node(std::string backend) : backend_(std::move(backend)) {
    must("ip link add eth0 address 02:00:00:00:00:01 type veth peer name gate");
    for (const char* const all : {"ipv4/ip_forward", "ipv6/conf/all/forwarding"}) set_sysctl(all, "1");
    for (const char* const all : {"ipv4/conf/all/rp_filter", "ipv4/conf/eth0/rp_filter", "ipv4/conf/all/send_redirects",
                                  "ipv4/conf/eth0/send_redirects", "ipv6/conf/eth0/accept_dad"}) {
      set_sysctl(all, "0");
    }
    set_sysctl("ipv6/conf/gate/disable_ipv6", "1");
    must("ip link set eth0 up");
    must("ip link set gate up");
  }

  void become(const service::NodeConfig& node) {
    for (const char* const family : {"-4", "-6"})
      must(std::string("ip ") + family + " addr flush dev eth0 scope global");
    set_sysctl("ipv4/conf/all/route_localnet", node.localhost_node_ports ? "1" : "0");
    for (const net::Address& address : node.addresses) {
      if (address.is_loopback()) continue;
      must("ip addr add " + address.to_string() + " dev eth0" + (address.is_v4() ? "" : " nodad"));
    }
    // Everybody else is behind a neighbour that is not there.
    must("ip route replace default via inet 192.0.2.254 dev eth0 onlink");
    must("ip -6 route replace default via fe80::fe dev eth0 onlink");
    must("ip neigh replace 192.0.2.254 lladdr 02:00:00:00:00:fe dev eth0");
    must("ip neigh replace fe80::fe lladdr 02:00:00:00:00:fe dev eth0");
  }
  void load(net::Family family, const std::string& text) {
    const auto loaded = divert::run({program(family, "restore")}, text);
    ASSERT_TRUE(loaded && loaded->ok()) << (loaded ? loaded->err : loaded.error().message);
  }
  Counts counts(net::Family family) const {
    const auto saved = divert::run({program(family, "save"), "-c"});
    EXPECT_TRUE(saved && saved->ok());
    Counts counts;
    const auto read = rules::parse_ruleset(saved->out, {.family = family});
    EXPECT_TRUE(read.errors.empty()) << saved->out;
    for (const rules::TableRules& table : read.rules.tables) {
      for (const rules::Chain& chain : table.chains) {
        const bool base = table.table == rules::Table::nat && chain.policy.has_value();
        for (const rules::Rule& rule : chain.rules) count(rule, base, counts);
      }
    }
    return counts;
  }

  void send(const net::Tuple& tuple, bool from_here) {
    const limpet::test::Bytes packet = first_packet(tuple);
    const bool v4 = tuple.source.address.is_v4();
    if (!from_here) {
      sockaddr_ll to{};
      to.sll_family = AF_PACKET;
      to.sll_protocol = htons(v4 ? ETH_P_IP : ETH_P_IPV6);
      to.sll_ifindex = static_cast<int>(::if_nametoindex("gate"));
      to.sll_halen = ETH_ALEN;
      std::memcpy(to.sll_addr, kNodesMac, ETH_ALEN);
      return transmit(frames_, packet, reinterpret_cast<const sockaddr*>(&to), sizeof to);
    }
    sockaddr_in in{};
    sockaddr_in6 in6{};
    in.sin_family = AF_INET, in6.sin6_family = AF_INET6;
    const auto bytes = tuple.destination.address.bytes();
    std::memcpy(v4 ? static_cast<void*>(&in.sin_addr) : &in6.sin6_addr, bytes.data(), bytes.size());
    if (v4) return transmit(raw_v4_, packet, reinterpret_cast<const sockaddr*>(&in), sizeof in);
    transmit(raw_v6_, packet, reinterpret_cast<const sockaddr*>(&in6), sizeof in6);
  }

 private:
  std::string program(net::Family family, const std::string& what) const {
    return (family == net::Family::v4 ? "iptables-" : "ip6tables-") + backend_ + "-" + what;
  }
  static limpet::test::Bytes first_packet(const net::Tuple& tuple) {
    limpet::test::PacketBuilder builder;
    const std::string from = tuple.source.address.to_string(), to = tuple.destination.address.to_string();
    tuple.source.address.is_v4() ? builder.v4(from, to) : builder.v6(from, to);
    const std::uint16_t source = tuple.source.port, destination = tuple.destination.port;
    if (tuple.protocol == net::Protocol::tcp) return builder.tcp(source, destination).flags("S").build();
    if (tuple.protocol == net::Protocol::udp) return builder.udp(source, destination).payload("hello").build();
    constexpr std::string_view kInit("\0\0\0\1\0\0\x10\0\0\1\0\1\0\0\0\1", 16);  // tag, window, streams, TSN
    return builder.sctp(source, destination).chunk(1, kInit).build();
  }
  static void transmit(int socket, const limpet::test::Bytes& packet, const sockaddr* to, socklen_t size) {
    const auto sent = ::sendto(socket, packet.data(), packet.size(), 0, to, size);
    const bool refused = sent < 0 && errno == EPERM;  // by a rule in OUTPUT
    EXPECT_TRUE(refused || sent == static_cast<ssize_t>(packet.size())) << std::strerror(errno);
  }

  std::string backend_;
  int frames_ = ::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  int raw_v4_ = ::socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
  int raw_v6_ = ::socket(AF_INET6, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
};

service::Config configuration(const json& scenario) {
  service::Config config;
  config.node = service::scenario_node(scenario);
  config.services = service::scenario_objects(scenario).services();
  return config;
}

class ScenarioRun {
 public:
  ScenarioRun(Node& node, const json& scenario) : node_(node), config_(configuration(scenario)), scenario_(scenario) {
    view_ = node_of(config_.node);
    remembers_ =
        std::ranges::any_of(config_.services, [](const auto& each) { return each.affinity_timeout.has_value(); });
  }

  int run() {
    const json flows = scenario_.value("flows", json::array());
    if (flows.empty()) return 0;
    node_.become(config_.node);
    load();
    for (const json& flow : flows) {
      SCOPED_TRACE(flow.at("name").get<std::string>() + " " + flow.dump());
      if (remembers_) load();
      expect(flow);
      if (testing::Test::HasFailure()) return 0;
    }
    return static_cast<int>(flows.size());
  }

 private:
  /// What `recent` knows goes with the last rule of its list.
  void load() {
    for (const net::Family family : {net::Family::v4, net::Family::v6}) {
      if (remembers_) node_.load(family, "*nat\nCOMMIT\n");
      node_.load(family, export_rules(config_, view_, family).text);
      before_[family] = Counts();
    }
  }

  Counts send(net::Tuple tuple, std::uint64_t packets) {
    const net::Family family = tuple.source.address.family();
    for (std::uint64_t i = 0; i < packets; ++i) {
      tuple.source.port = next_port_ =
          next_port_ < 1024 ? std::uint16_t{1024} : static_cast<std::uint16_t>(next_port_ + 1);
      node_.send(tuple, view_.is_local(tuple.source.address));
    }
    Counts& before = before_[family];
    Counts now = node_.counts(family);
    for (int tries = 0; now.met - before.met != packets && tries < 200; ++tries) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      now = node_.counts(family);
    }
    EXPECT_EQ(now.met - before.met, packets) << "packets have reached nat";
    const Counts moved = now - before;
    before = now;
    return moved;
  }

  void expect(const json& flow) {
    const json& expected = flow.at("expect");
    const auto endpoints = expected.at("endpoints").get<std::set<std::string>>();
    const std::string action = expected.at("action");
    const std::uint64_t packets = kPacketsPerEndpoint * std::max<std::size_t>(endpoints.size(), 1);
    const Counts counts = send({net::parse_protocol(flow.at("protocol").get<std::string>()).value(),
                                {service::ip(flow.at("from").get<std::string>()), 0},
                                service::at(flow.at("to").get<std::string>())},
                               packets);
    EXPECT_EQ(counts.translated(), action == "dnat" ? packets : 0);
    EXPECT_EQ(counts.rejected, action == "reject" ? packets : 0);
    EXPECT_EQ(counts.dropped, action == "drop" ? packets : 0);
    EXPECT_EQ(counts.masqueraded, expected.at("masquerade").get<bool>() ? packets : 0);
    std::set<std::string> chosen;
    for (const auto& [endpoint, taken] : counts.endpoints) chosen.insert(endpoint);
    if (remembers_ && endpoints.size() > 1) {
      ASSERT_EQ(chosen.size(), 1U);
      EXPECT_TRUE(endpoints.contains(*chosen.begin()));
    } else {
      EXPECT_EQ(chosen, endpoints);
    }
  }

  Node& node_;
  const service::Config config_;
  const json& scenario_;
  node::NodeView view_;
  bool remembers_ = false;
  std::map<net::Family, Counts> before_;
  static inline std::uint16_t next_port_ = 1024;
};

class ExportDifferential : public testing::TestWithParam<std::string> {};

TEST_P(ExportDifferential, TheKernelDecidesAsKubeProxy) {
  if (const std::string reason = limpet::test::enter_private_network(limpet::test::Privilege::as_is); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  service::Service seed = service::seed_service();
  seed.affinity_timeout = std::chrono::seconds(10);
  service::Config config;
  config.node = service::seed_node();
  config.services = {seed};
  const std::string text = export_rules(config, service::seed_view(), net::Family::v4).text;
  const auto works = divert::run({"iptables-" + GetParam() + "-restore", "--test"}, text);
  if (!works || !works->ok()) {
    GTEST_SKIP() << "this kernel lacks what kube-proxy's rules need, for iptables-" << GetParam();
  }
  Node node(GetParam());
  int flows = 0;
  for (const json& scenario : service::load_scenarios()) {
    SCOPED_TRACE(scenario.at("name").get<std::string>());
    flows += ScenarioRun(node, scenario).run();
    if (HasFailure()) break;
  }
  std::cout << "iptables-" << GetParam() << ": " << flows << " flows as recorded\n";
  EXPECT_GT(flows, 0);
}

INSTANTIATE_TEST_SUITE_P(Backends, ExportDifferential, testing::Values("legacy", "nft"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace limpet::kube::test
