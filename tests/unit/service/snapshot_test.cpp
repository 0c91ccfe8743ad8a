// What a connection meets, before any choice. Expected values: kube-proxy's iptables mode, worked out from its chains
// (KUBE-SERVICES, KUBE-NODEPORTS, KUBE-EXT, KUBE-SVC, KUBE-SVL; pkg/proxy/iptables/proxier.go v1.34).
#include "lb/service/snapshot.h"

#include <functional>
#include <ostream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using datapath::Action;
using testing::ElementsAre;

constexpr const char* kPod = "10.28.6.77";
constexpr const char* kNode = "10.128.0.5";
constexpr const char* kOutside = "203.0.113.7";
constexpr const char* kVip = "10.31.240.99:80";
constexpr const char* kNodePort = "10.128.0.5:31332";

struct Case {
  const char* name;
  std::function<void(NodeConfig&, Service&)> arrange;
  const char* from;
  const char* to;
  Action action;
  std::size_t candidates;  // 4: every endpoint; 2: this node's
  bool masquerade;
  datapath::Hook hook = datapath::Hook::prerouting;
};
std::string case_name(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

void as_it_is(NodeConfig&, Service&) {}
void no_detector(NodeConfig& node, Service&) {
  node.detect_local = {};
}
void masquerade_all(NodeConfig& node, Service&) {
  node.masquerade_all = true;
}
void external_local(NodeConfig&, Service& service) {
  service.external_policy = TrafficPolicy::local;
}
void internal_local(NodeConfig&, Service& service) {
  service.internal_policy = TrafficPolicy::local;
}
void external_local_no_detector(NodeConfig& node, Service& service) {
  no_detector(node, service);
  external_local(node, service);
}
void external_local_masquerade_all(NodeConfig& node, Service& service) {
  masquerade_all(node, service);
  external_local(node, service);
}
void always(NodeConfig&, Service& service) {
  service.masquerade = MasqueradeMode::always;
}
void never(NodeConfig&, Service& service) {
  service.masquerade = MasqueradeMode::never;
}
void no_endpoints(NodeConfig&, Service& service) {
  service.endpoints.clear();
}
void all_remote(NodeConfig&, Service& service) {
  service.external_policy = service.internal_policy = TrafficPolicy::local;
  for (Endpoint& endpoint : service.endpoints) endpoint.node_name = kOtherNode;
}
void all_of_weight_zero(NodeConfig&, Service& service) {
  for (Endpoint& endpoint : service.endpoints) endpoint.weight = 0;
}

class Outcome : public testing::TestWithParam<Case> {};

TEST_P(Outcome, is_kube_proxys) {
  const Case& c = GetParam();
  NodeConfig node = seed_node();
  Service service = seed_service();
  c.arrange(node, service);
  const World world(node, {service});
  datapath::NewConnection arriving = connection(c.from, c.to);
  arriving.hook = c.hook;
  const Match match = world.match(arriving);
  EXPECT_EQ(match.action, c.action);
  EXPECT_EQ(world.snapshot().candidates(match).size(), c.candidates);
  EXPECT_EQ(c.action == Action::dnat && masquerades(match.masquerade), c.masquerade);
}

const Case kMasquerade[] = {
    {"clusterip_pod", as_it_is, kPod, kVip, Action::dnat, 4, false},
    {"clusterip_node", as_it_is, kNode, kVip, Action::dnat, 4, true},
    {"clusterip_outside", as_it_is, kOutside, kVip, Action::dnat, 4, true},
    {"clusterip_no_detector_pod", no_detector, kPod, kVip, Action::dnat, 4, false},
    {"clusterip_no_detector_node", no_detector, kNode, kVip, Action::dnat, 4, false},
    {"clusterip_no_detector_outside", no_detector, kOutside, kVip, Action::dnat, 4, false},
    {"clusterip_all_pod", masquerade_all, kPod, kVip, Action::dnat, 4, true},
    {"clusterip_all_node", masquerade_all, kNode, kVip, Action::dnat, 4, true},
    {"clusterip_all_outside", masquerade_all, kOutside, kVip, Action::dnat, 4, true},
    {"clusterip_own_vip_no_detector", no_detector, "10.31.240.99", kVip, Action::dnat, 4, true},
    {"nodeport_cluster_pod", as_it_is, kPod, kNodePort, Action::dnat, 4, true},
    {"nodeport_cluster_node", as_it_is, kNode, kNodePort, Action::dnat, 4, true},
    {"nodeport_cluster_outside", as_it_is, kOutside, kNodePort, Action::dnat, 4, true},
    {"nodeport_local_pod", external_local, kPod, kNodePort, Action::dnat, 4, false},
    {"nodeport_local_node", external_local, kNode, kNodePort, Action::dnat, 4, true},
    {"nodeport_local_outside", external_local, kOutside, kNodePort, Action::dnat, 2, false},
    {"nodeport_local_no_detector_pod", external_local_no_detector, kPod, kNodePort, Action::dnat, 2, false},
    {"nodeport_local_no_detector_node", external_local_no_detector, kNode, kNodePort, Action::dnat, 4, true},
    {"nodeport_local_no_detector_outside", external_local_no_detector, kOutside, kNodePort, Action::dnat, 2, false},
    // masqueradeAll is a rule of the clusterIP's chain only.
    {"nodeport_local_all_pod", external_local_masquerade_all, kPod, kNodePort, Action::dnat, 4, false},
    {"nodeport_local_all_outside", external_local_masquerade_all, kOutside, kNodePort, Action::dnat, 2, false},
    // An address of the node inside podCIDRs meets the pods' rule, which stands first.
    {"nodeport_local_bridge_address", external_local, "10.28.8.1", kNodePort, Action::dnat, 4, false},
    {"always_pod", always, kPod, kVip, Action::dnat, 4, true},
    {"never_outside", never, kOutside, kVip, Action::dnat, 4, false},
    {"never_nodeport", never, kOutside, kNodePort, Action::dnat, 4, false},
};
INSTANTIATE_TEST_SUITE_P(masquerade, Outcome, testing::ValuesIn(kMasquerade), case_name);

const Case kPolicy[] = {
    {"internal_local", internal_local, kPod, kVip, Action::dnat, 2, false},
    {"internal_local_leaves_nodeport_alone", internal_local, kOutside, kNodePort, Action::dnat, 4, true},
    {"external_local_leaves_clusterip_alone", external_local, kOutside, kVip, Action::dnat, 4, true},
    {"no_endpoints_clusterip", no_endpoints, kPod, kVip, Action::reject, 0, false},
    {"no_endpoints_nodeport", no_endpoints, kOutside, kNodePort, Action::reject, 0, false},
    {"weight_zero_is_no_endpoint", all_of_weight_zero, kPod, kVip, Action::reject, 0, false},
    {"none_local_clusterip", all_remote, kPod, kVip, Action::drop, 0, false},
    {"none_local_nodeport_outside", all_remote, kOutside, kNodePort, Action::drop, 0, false},
    {"none_local_nodeport_pod", all_remote, kPod, kNodePort, Action::dnat, 4, false},
    {"none_local_nodeport_node", all_remote, kNode, kNodePort, Action::dnat, 4, true},
    {"other_port_of_vip", as_it_is, kPod, "10.31.240.99:81", Action::none, 0, false},
    {"nodeport_number_on_vip", as_it_is, kPod, "10.31.240.99:31332", Action::none, 0, false},
    {"service_port_on_node", as_it_is, kPod, "10.128.0.5:80", Action::none, 0, false},
    {"nodeport_on_foreign_address", as_it_is, kPod, "10.128.0.6:31332", Action::none, 0, false},
    {"nodeport_on_second_address", as_it_is, kOutside, "10.28.8.1:31332", Action::dnat, 4, true},
};
INSTANTIATE_TEST_SUITE_P(policy, Outcome, testing::ValuesIn(kPolicy), case_name);

void localhost(NodeConfig& node, Service&) {
  node.localhost_node_ports = true;
}
void chosen_by_cidr(NodeConfig& node, Service&) {
  node.node_port_addresses = {cidr("10.128.0.0/20")};
}
void loopback_chosen_but_off(NodeConfig& node, Service&) {
  node.node_port_addresses = {cidr("127.0.0.0/8")};
}
void primary(NodeConfig& node, Service&) {
  node.node_port_primary_only = true;
}
void listed(NodeConfig& node, Service&) {
  node.addresses = {ip("192.0.2.1")};
}
void v6_service(NodeConfig& node, Service& service) {
  node.localhost_node_ports = true;
  service.cluster_ip = ip("fd00:31::99");
  service.endpoints = {local_endpoint("[fd00:28::5]:80")};
}

/// The family that has none is chosen as a whole.
void v6_chosen_by_cidr(NodeConfig& node, Service& service) {
  v6_service(node, service);
  node.localhost_node_ports = false;
  node.node_port_addresses = {cidr("fd00::/16")};
}
void v4_chosen_for_v6_service(NodeConfig& node, Service& service) {
  v6_chosen_by_cidr(node, service);
  node.node_port_addresses = {cidr("192.0.2.0/24")};
}
void v6_chosen_for_v4_service(NodeConfig& node, Service&) {
  node.node_port_addresses = {cidr("fd00::/16")};
}

const Case kNodePorts[] = {
    {"loopback_is_none", as_it_is, "127.0.0.1", "127.0.0.1:31332", Action::none, 0, false},
    {"loopback_if_asked_for", localhost, "127.0.0.1", "127.0.0.1:31332", Action::dnat, 4, true},
    {"loopback_in_cidrs_is_not_enough", loopback_chosen_but_off, "127.0.0.1", "127.0.0.1:31332", Action::none, 0,
     false},
    {"cidr_takes_its_own", chosen_by_cidr, kOutside, kNodePort, Action::dnat, 4, true},
    {"cidr_leaves_others", chosen_by_cidr, kOutside, "10.28.8.1:31332", Action::none, 0, false},
    {"primary_takes_node_ip", primary, kOutside, kNodePort, Action::dnat, 4, true},
    {"primary_leaves_others", primary, kOutside, "10.28.8.1:31332", Action::none, 0, false},
    {"listed_addresses_count", listed, kOutside, "192.0.2.1:31332", Action::dnat, 4, true},
    {"listed_addresses_replace_the_machines", listed, kOutside, kNodePort, Action::none, 0, false},
    {"v6_nodeport", v6_service, "2001:db8:1::7", "[2001:db8::5]:31332", Action::dnat, 1, true},
    {"v6_cidr_leaves_others", v6_chosen_by_cidr, "2001:db8:1::7", "[2001:db8::5]:31332", Action::none, 0, false},
    {"v4_cidr_says_nothing_of_v6", v4_chosen_for_v6_service, "2001:db8:1::7", "[2001:db8::5]:31332", Action::dnat, 1,
     true},
    {"v6_cidr_says_nothing_of_v4", v6_chosen_for_v4_service, kOutside, kNodePort, Action::dnat, 4, true},
    {"v6_loopback_never", v6_service, "::1", "[::1]:31332", Action::none, 0, false},
    {"v6_nodeport_is_not_v4s", v6_service, kOutside, kNodePort, Action::none, 0, false},
    // podCIDRs of IPv4 alone: IPv6 has no detector, so nothing to a clusterIP is masqueraded.
    {"v6_without_v6_detector", v6_service, "2001:db8:1::7", "[fd00:31::99]:80", Action::dnat, 1, false},
};
INSTANTIATE_TEST_SUITE_P(node_ports, Outcome, testing::ValuesIn(kNodePorts), case_name);

// KUBE-EXTERNAL-SERVICES: `-m addrtype --dst-type LOCAL --dport NODEPORT -j REJECT`, or DROP, whatever nodePortAddresses.
void elsewhere_without_endpoints(NodeConfig& node, Service& service) {
  chosen_by_cidr(node, service);
  no_endpoints(node, service);
}
void elsewhere_all_remote(NodeConfig& node, Service& service) {
  chosen_by_cidr(node, service);
  all_remote(node, service);
}
void elsewhere_cluster_all_remote(NodeConfig& node, Service& service) {
  elsewhere_all_remote(node, service);
  service.external_policy = TrafficPolicy::cluster;
}
void elsewhere_nftables(NodeConfig& node, Service& service) {
  elsewhere_without_endpoints(node, service);
  node.compat = Compat::nftables;
}
void elsewhere_listed(NodeConfig& node, Service& service) {
  listed(node, service);
  no_endpoints(node, service);
}
void v6_without_endpoints(NodeConfig& node, Service& service) {
  v6_service(node, service);
  no_endpoints(node, service);
}

constexpr const char* kElsewhere = "10.28.8.1:31332";  // the node's, in none of the CIDRs
const Case kRefusedEverywhere[] = {
    {"outside", elsewhere_without_endpoints, kOutside, kElsewhere, Action::reject, 0, false},
    {"pod", elsewhere_without_endpoints, kPod, kElsewhere, Action::reject, 0, false},
    {"node", elsewhere_without_endpoints, kNode, kElsewhere, Action::reject, 0, false, datapath::Hook::output},
    {"where_they_listen", elsewhere_without_endpoints, kOutside, kNodePort, Action::reject, 0, false},
    {"loopback", no_endpoints, "127.0.0.1", "127.0.0.1:31332", Action::reject, 0, false, datapath::Hook::output},
    {"v6_loopback", v6_without_endpoints, "::1", "[::1]:31332", Action::reject, 0, false, datapath::Hook::output},
    {"foreign_address", elsewhere_without_endpoints, kOutside, "10.28.8.2:31332", Action::none, 0, false},
    {"not_a_listed_address", elsewhere_listed, kOutside, kNodePort, Action::none, 0, false},
    // No rule of nat leads from there to the endpoints of other nodes.
    {"none_local_outside", elsewhere_all_remote, kOutside, kElsewhere, Action::drop, 0, false},
    {"none_local_pod", elsewhere_all_remote, kPod, kElsewhere, Action::drop, 0, false},
    {"none_local_node", elsewhere_all_remote, kNode, kElsewhere, Action::drop, 0, false, datapath::Hook::output},
    {"none_local_but_cluster", elsewhere_cluster_all_remote, kOutside, kElsewhere, Action::none, 0, false},
    // The nftables mode looks into its map of refused nodePorts behind the check of nodeport-ips.
    {"nftables", elsewhere_nftables, kOutside, kElsewhere, Action::none, 0, false},
    {"nftables_where_they_listen", elsewhere_nftables, kOutside, kNodePort, Action::reject, 0, false},
};
INSTANTIATE_TEST_SUITE_P(refused_everywhere, Outcome, testing::ValuesIn(kRefusedEverywhere), case_name);

TEST(Snapshot, leaves_connections_under_way_to_whoever_has_them) {
  NodeConfig node = seed_node();
  Service service = seed_service();
  elsewhere_without_endpoints(node, service);
  const World world(node, {service});
  datapath::NewConnection under_way = connection(kOutside, kElsewhere);
  under_way.midstream = true;
  EXPECT_EQ(world.match(under_way).action, Action::none);
  under_way.tuple.destination = at(kNodePort);
  EXPECT_EQ(world.match(under_way).action, Action::reject) << "as any of a service";
}

// KUBE-EXTERNAL-SERVICES is asked at INPUT and FORWARD, not at OUTPUT; KUBE-PROXY-FIREWALL at all three.
void external(NodeConfig&, Service& service) {
  service.external_ips = {ip("198.51.100.9"), ip("10.28.8.1")};
  service.load_balancer_ips = {ip("198.51.100.10")};
}
void external_without_endpoints(NodeConfig& node, Service& service) {
  external(node, service);
  no_endpoints(node, service);
}
void external_all_remote(NodeConfig& node, Service& service) {
  external(node, service);
  all_remote(node, service);
}
void external_nftables(NodeConfig& node, Service& service) {
  external_without_endpoints(node, service);
  node.compat = Compat::nftables;
}
void external_with_ranges(NodeConfig& node, Service& service) {
  external_all_remote(node, service);
  service.source_ranges = {cidr("192.0.2.0/24")};
}

constexpr const char* kExternal = "198.51.100.9:80";
constexpr const char* kBalancer = "198.51.100.10:80";
constexpr auto kOutput = datapath::Hook::output;
const Case kOutputs[] = {
    {"external_ip", external_without_endpoints, kNode, kExternal, Action::none, 0, false, kOutput},
    {"load_balancer", external_without_endpoints, kNode, kBalancer, Action::none, 0, false, kOutput},
    {"of_the_node", external_without_endpoints, kNode, "10.28.8.1:80", Action::reject, 0, false, kOutput},
    {"cluster_ip", external_without_endpoints, kNode, kVip, Action::reject, 0, false, kOutput},
    {"node_port", external_without_endpoints, kNode, kNodePort, Action::reject, 0, false, kOutput},
    {"from_outside", external_without_endpoints, kOutside, kExternal, Action::reject, 0, false},
    {"from_a_pod", external_without_endpoints, kPod, kBalancer, Action::reject, 0, false},
    {"served", external, kNode, kExternal, Action::dnat, 4, true, kOutput},
    {"none_local", external_all_remote, kNode, kExternal, Action::dnat, 4, true, kOutput},
    {"none_local_of_an_unknown_source", external_all_remote, kOutside, kExternal, Action::none, 0, false, kOutput},
    {"source_ranges", external_with_ranges, kNode, kBalancer, Action::drop, 0, false, kOutput},
    {"source_ranges_of_an_unknown_source", external_with_ranges, kOutside, kBalancer, Action::drop, 0, false, kOutput},
    {"nftables", external_nftables, kNode, kExternal, Action::reject, 0, false, kOutput},
};
INSTANTIATE_TEST_SUITE_P(output, Outcome, testing::ValuesIn(kOutputs), case_name);

TEST(Snapshot, keeps_protocols_apart) {
  Service tcp = seed_service();
  Service udp = seed_service();
  udp.name = "default/php-apache-svc:dns";
  udp.protocol = net::Protocol::udp;
  const World world(seed_node(), {tcp, udp});
  const auto name = [&](const char* to, net::Protocol protocol) {
    const Match match = world.match(connection(kPod, to, protocol));
    return match.port == nullptr ? "" : match.port->service().name;
  };
  EXPECT_EQ(name(kVip, net::Protocol::tcp), tcp.name);
  EXPECT_EQ(name(kVip, net::Protocol::udp), udp.name);
  EXPECT_EQ(name(kNodePort, net::Protocol::udp), udp.name);
  EXPECT_EQ(name(kVip, net::Protocol::sctp), "");
}

TEST(Snapshot, looks_up_vips_before_node_ports) {
  Service by_node_port = seed_service();
  Service by_vip = seed_service();
  by_vip.name = "default/other:http";
  by_vip.cluster_ip = ip("10.128.0.5");  // the node's own address
  by_vip.port = 31332;
  by_vip.node_port = 0;
  const World world(seed_node(), {by_node_port, by_vip});
  EXPECT_EQ(world.match(connection(kPod, kNodePort)).port->service().name, by_vip.name);
}

TEST(Snapshot, hairpin_is_masqueraded_unless_never) {
  Service service = seed_service();
  Match match = World(seed_node(), {service}).match(connection("10.28.8.5", kVip));
  EXPECT_FALSE(masquerades(match.masquerade));
  EXPECT_EQ(match.masquerade_to(ip("10.28.8.5"), ip("10.28.8.5")), MasqueradeRule::hairpin);
  EXPECT_EQ(match.masquerade_to(ip("10.28.8.6"), ip("10.28.8.5")), MasqueradeRule::from_pod);
  service.masquerade = MasqueradeMode::never;
  match = World(seed_node(), {service}).match(connection("10.28.8.5", kVip));
  EXPECT_EQ(match.masquerade_to(ip("10.28.8.5"), ip("10.28.8.5")), MasqueradeRule::mode_never);
}

TEST(Snapshot, detects_pods_by_interface) {
  struct {
    LocalDetector detector;
    std::uint32_t in_interface;
    bool masquerade;  // of a clusterIP connection: not from a pod
  } const cases[] = {
      {{LocalDetector::Mode::bridge_interface, {}, "cbr0"}, 3, false},
      {{LocalDetector::Mode::bridge_interface, {}, "cbr0"}, 2, true},
      {{LocalDetector::Mode::bridge_interface, {}, "cbr"}, 3, true},
      {{LocalDetector::Mode::interface_name_prefix, {}, "veth"}, 4, false},
      {{LocalDetector::Mode::interface_name_prefix, {}, "veth"}, 2, true},
      {{LocalDetector::Mode::interface_name_prefix, {}, "veth"}, 0, true},  // OUTPUT: no input interface
  };
  for (const auto& c : cases) {
    NodeConfig node = seed_node();
    node.detect_local = c.detector;
    auto from = connection(kOutside, kVip);
    from.in_interface = c.in_interface;
    const Match match = World(node, {seed_service()}).match(from);
    EXPECT_EQ(masquerades(match.masquerade), c.masquerade) << c.detector.interface << ' ' << c.in_interface;
  }
}

TEST(Snapshot, sorts_candidates_as_text) {
  Service service = seed_service();
  service.endpoints = {local_endpoint("10.28.8.10:80"), local_endpoint("10.28.8.9:80"),
                       local_endpoint("10.28.8.9:443")};
  const World world(seed_node(), {service});
  EXPECT_THAT(world.snapshot().candidates(world.match(connection(kPod, kVip))),
              ElementsAre("10.28.8.10:80", "10.28.8.9:443", "10.28.8.9:80"));
}

}  // namespace
}  // namespace limpet::service
