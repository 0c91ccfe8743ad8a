// Of any declared services: the rules that are exported for them decide every connection as the snapshot does.
//
//   endpoints    those that the rules could choose (reach.h) are the snapshot's candidates
//   action       the same, and with each endpoint that is chosen the same masquerade
//
// But for what kube-proxy's iptables mode does otherwise than limpet on purpose or by its layout of chains; such a
// connection is told apart by what it is, not by its outcome (`differs`):
//
//   with localhostNodePorts it drops what others send to 127.0.0.0/8 and no service takes (CVE-2020-8558)
//   it does not masquerade a connection from a VIP to itself for its own sake
#include <algorithm>
#include <set>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "lb/rules/reach.h"
#include "tests/property/rules_generators.h"
#include "tests/unit/kube/exported.h"

namespace limpet::kube::test {

using datapath::Action;
using rules::properties::between;
using rules::properties::one_of;
using service::at;
using service::cidr;
using service::ip;
using service::Service;

bool once_in(std::uint32_t n) {
  return between(1, n) == 1;
}

service::LocalDetector any_detector() {
  using Mode = service::LocalDetector::Mode;
  return one_of<service::LocalDetector>({{Mode::none, {}, ""},
                                         {Mode::cluster_cidr, {cidr("10.0.0.0/8")}, ""},
                                         {Mode::cluster_cidr, {cidr("10.0.0.0/16"), cidr("10.180.0.0/16")}, ""},
                                         {Mode::node_cidr, {cidr("fd00::/64")}, ""},
                                         {Mode::bridge_interface, {}, "eth0"},
                                         {Mode::interface_name_prefix, {}, "et"}});
}

service::NodeConfig any_node() {
  service::NodeConfig node;
  node.name = "here";
  node.zone = one_of<std::string>({"", "a"});
  node.addresses = {ip("192.168.0.2"), ip("192.168.1.2")};
  node.node_ip = ip("192.168.0.2");
  node.detect_local = any_detector();
  node.masquerade_all = once_in(6);
  node.node_port_primary_only = once_in(6);
  node.node_port_addresses = one_of<std::vector<net::Prefix>>({{},
                                                               {},
                                                               {cidr("192.168.1.0/24")},
                                                               {cidr("127.0.0.0/8"), cidr("192.168.0.0/24")},
                                                               {cidr("0.0.0.0/0")},
                                                               {cidr("fd00::/64")}});
  node.localhost_node_ports = once_in(2);
  if (once_in(4)) {
    node.compat = service::Compat::nftables;
    node.service_cidrs = {cidr("172.30.0.0/16")};
  }
  return node;
}

service::Endpoint any_endpoint(std::uint32_t number) {
  service::Endpoint endpoint{.at = at("10.180.0." + std::to_string(number) + ":8080")};
  endpoint.node_name = one_of<std::string>({"here", "there", ""});
  endpoint.weight = one_of<std::uint32_t>({1, 1, 1, 3, 0});
  endpoint.ready = !once_in(3);
  endpoint.serving = !once_in(3);
  endpoint.terminating = once_in(2);
  if (once_in(2)) endpoint.zone_hints = {one_of<std::string>({"a", "b"})};
  if (once_in(4)) endpoint.node_hints = {one_of<std::string>({"here", "there"})};
  return endpoint;
}

service::TrafficPolicy any_policy() {
  return one_of<service::TrafficPolicy>({service::TrafficPolicy::cluster, service::TrafficPolicy::local});
}

Service any_service(std::uint32_t number) {
  const std::string n = std::to_string(number);
  Service service;
  service.name = "ns/svc" + n + ":p80";
  service.protocol = one_of<net::Protocol>({net::Protocol::tcp, net::Protocol::udp, net::Protocol::sctp});
  if (!once_in(5)) service.cluster_ip = ip("172.30.0.4" + n);
  service.port = 80;
  if (!service.cluster_ip || once_in(2)) service.node_port = static_cast<std::uint16_t>(3000 + number);
  if (once_in(3)) service.external_ips = {ip("192.168.99.2" + n)};
  if (once_in(2)) service.load_balancer_ips = {ip("1.2.3." + n), ip("1.2.4." + n)};
  service.source_ranges = one_of<std::vector<net::Prefix>>(
      {{}, {cidr("203.0.113.0/25")}, {cidr("192.168.0.0/16"), cidr("203.0.113.128/25")}});
  service.external_policy = any_policy();
  service.internal_policy = any_policy();
  service.masquerade =
      one_of<service::MasqueradeMode>({service::MasqueradeMode::automatic, service::MasqueradeMode::automatic,
                                       service::MasqueradeMode::always, service::MasqueradeMode::never});
  if (once_in(3)) service.affinity_timeout = std::chrono::seconds(between(0, 10800));
  if (once_in(3)) service.affinity_refresh = service::AffinityRefresh::never;
  if (once_in(3)) service.affinity_prefix = static_cast<std::uint8_t>(between(1, 32));
  if (once_in(3)) service.affinity_group = "group shared";
  for (std::uint32_t i = 1; i <= 4; ++i) {
    if (once_in(2)) service.endpoints.push_back(any_endpoint(i));
  }
  return service;
}

service::Config any_config() {
  service::Config config;
  config.node = any_node();
  for (std::uint32_t i = 1, count = between(1, 3); i <= count; ++i) config.services.push_back(any_service(i));
  return config;
}

net::Tuple any_tuple(const Service& service) {
  const std::string n = service.name.substr(6, 1);
  const auto node_port = std::to_string(service.node_port == 0 ? 3009 : service.node_port);
  const auto from = one_of<std::string>({"10.180.0.1", "10.0.9.9", "192.168.0.2", "192.168.1.2", "127.0.0.1",
                                         "203.0.113.5", "203.0.113.200", "1.2.3." + n, "172.30.0.4" + n});
  const auto to = one_of<std::string>({"172.30.0.4" + n + ":80", "172.30.0.4" + n + ":81", "172.30.7.7:80",
                                       "192.168.0.2:" + node_port, "192.168.1.2:" + node_port, "127.0.0.1:" + node_port,
                                       "192.168.99.2" + n + ":80", "1.2.3." + n + ":80", "1.2.4." + n + ":80",
                                       "198.51.100.1:" + node_port});
  return {service.protocol, {ip(from), 40000}, at(to)};
}

/// Is it one of the connections that kube-proxy's iptables mode treats otherwise?
bool differs(const service::NodeConfig& node, const net::Tuple& tuple, service::MasqueradeRule rule) {
  const bool guarded = node.localhost_node_ports && node.compat == service::Compat::iptables;
  const bool at_localhost = tuple.destination.address.is_loopback() && !tuple.source.address.is_loopback();
  return rule == service::MasqueradeRule::own_vip || (guarded && at_localhost);
}

std::set<std::string> reachable(const rules::Program& program, const datapath::NewConnection& connection,
                                const node::NodeView& view) {
  const rules::Reach reach(*program.rules().find(rules::Table::nat), nullptr);
  const char* const hook = connection.hook == datapath::Hook::output ? "OUTPUT" : "PREROUTING";
  std::set<std::string> endpoints;
  for (const rules::Rule* const rule : reach.from(hook, rules::first_facts(connection, view)).rules) {
    const auto* const dnat = std::get_if<rules::Dnat>(&rule->target);
    if (dnat != nullptr)
      endpoints.insert(net::AddressPort{dnat->to.addresses->first, dnat->to.ports->first}.to_string());
  }
  return endpoints;
}

RC_GTEST_PROP(ExportProperties, RulesDecideAsTheSnapshotDoes, ()) {
  const service::Config config = any_config();
  service::World world(config.node, config.services);
  ExportedProgram exported(config, net::Family::v4, once_in(2));
  world.view = exported.view();
  RC_LOG() << exported.text();
  for (int i = 0; i < 60; ++i) {
    const Service& service = config.services[between(0, static_cast<std::uint32_t>(config.services.size()) - 1)];
    const datapath::NewConnection connection = arriving(any_tuple(service), exported.view());
    const service::Match match = world.match(connection);
    const Action action = match.action;
    const bool refused = action != Action::dnat;
    RC_LOG() << connection.tuple.to_string() << ": snapshot " << datapath::to_string(action) << "\n";
    const bool apart = differs(config.node, connection.tuple, match.masquerade);
    const auto candidates = world.snapshot().candidates(match);
    RC_ASSERT(reachable(exported.program(), connection, exported.view()) ==
              std::set<std::string>(candidates.begin(), candidates.end()));
    const datapath::Decision decision = exported.decide(connection, flow::Instant{std::chrono::hours(24 * (i + 1))});
    if (apart && refused) continue;
    RC_ASSERT(decision.action == action);
    if (refused || apart) continue;
    const auto rule = match.masquerade_to(decision.endpoint.address, connection.tuple.source.address);
    RC_ASSERT(decision.masquerade == service::masquerades(rule));
  }
}

}  // namespace limpet::kube::test
