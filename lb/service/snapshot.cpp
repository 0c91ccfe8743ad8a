#include "lb/service/snapshot.h"

#include <algorithm>
#include <utility>

#include "conntrack/net/icmp.h"

namespace limpet::service {
namespace {

using datapath::Action;
using datapath::L4Address;
using datapath::Reason;

L4Address node_port_key(net::Protocol protocol, net::Family family, std::uint16_t port) {
  static constexpr std::byte kUnspecified[16]{};
  return {protocol, {net::Address::from_wire(family, kUnspecified), port}};
}

bool is_icmp(net::Protocol protocol) noexcept {
  return protocol == net::Protocol::icmp || protocol == net::Protocol::icmp6;
}

/// The outcome once door, set and masquerade are settled.
Match conclude(Match match) {
  switch (match.port->service().masquerade) {
    case MasqueradeMode::automatic:
      break;
    case MasqueradeMode::always:
      match.masquerade = MasqueradeRule::mode_always;
      break;
    case MasqueradeMode::never:
      match.masquerade = MasqueradeRule::mode_never;
      break;
  }
  if (!match.port->usable()) {
    match.action = Action::reject;
    match.reason = Reason::no_endpoints;
  } else if (match.port->empty(match.set)) {
    match.action = Action::drop;
    match.reason = Reason::no_local;
  } else {
    match.action = Action::dnat;
    match.reason = Reason::picked;
  }
  return match;
}

/// As diversion rules name an echo request: the port is type and code.
L4Address echo_request_to(const net::Address& vip) {
  const auto protocol = vip.is_v4() ? net::Protocol::icmp : net::Protocol::icmp6;
  return {protocol, {vip, static_cast<std::uint16_t>(net::echo_request_type(vip.family()) << 8)}};
}

template <typename T>
void sort_unique(std::vector<T>& values) {
  std::sort(values.begin(), values.end());
  values.erase(std::unique(values.begin(), values.end()), values.end());
}

}  // namespace

std::size_t Snapshot::L4Hash::operator()(const L4Address& key) const noexcept {
  const std::uint64_t rest = std::uint64_t{key.at.port} << 8 | static_cast<std::uint8_t>(key.protocol);
  return node::AddressHash{}(key.at.address) ^ static_cast<std::size_t>(rest * 0x9e3779b97f4a7c15);
}

Snapshot::Snapshot(const NodeConfig& node, std::span<const Service> services, std::vector<ServiceIds> ids,
                   IcmpEcho echo)
    : node_(node), echo_(echo) {
  ports_.reserve(services.size());
  for (std::size_t i = 0; i < services.size(); ++i) {
    ports_.push_back(
        std::make_shared<const ServicePort>(services[i], std::move(ids[i]), Place{node_.name(), node_.zone()}));
    add(*ports_.back());
  }
}

void Snapshot::add(const ServicePort& port) {
  const Service& service = port.service();
  const auto vip = [&](const net::Address& address, Door door) {
    vips_.emplace(L4Address{service.protocol, {address, service.port}}, Entry{&port, door});
  };
  if (service.cluster_ip) {
    vip(*service.cluster_ip, Door::cluster_ip);
    cluster_ips_.insert(*service.cluster_ip);
  }
  for (const net::Address& address : service.external_ips) vip(address, Door::external_ip);
  for (const net::Address& address : service.load_balancer_ips) vip(address, Door::load_balancer);
  if (service.node_port == 0) return;
  node_ports_.emplace(node_port_key(service.protocol, service.family(), service.node_port),
                      Entry{&port, Door::node_port});
}

store::Result<std::shared_ptr<const Snapshot>> Snapshot::build(const Config& config, Identities& identities,
                                                               const Identities::SlotInUse& in_use) {
  auto ids = identities.assign(config.services, in_use, Place{config.node.name, config.node.zone});
  if (!ids) return ids.error();
  return std::make_shared<const Snapshot>(config.node, config.services, std::move(*ids), config.icmp_echo);
}

Match Snapshot::match(const datapath::NewConnection& connection, const node::NodeView& view) const {
  const auto& [protocol, source, destination] = connection.tuple;
  Match match;
  if (const auto vip = vips_.find({protocol, destination}); vip != vips_.end()) {
    match.port = vip->second.port;
    match.door = vip->second.door;
  } else {
    const auto node_port = node_ports_.find(node_port_key(protocol, destination.address.family(), destination.port));
    if (node_port == node_ports_.end() || !node_.accepts_node_ports(destination.address, view)) {
      return match_none(connection.tuple, view);
    }
    match.port = node_port->second.port;
    match.door = Door::node_port;
  }
  match.origin = node_.origin(connection, view);
  return match.door == Door::cluster_ip ? match_cluster_ip(match, connection) : match_external(match, connection, view);
}

Match Snapshot::match_none(const net::Tuple& tuple, const node::NodeView& view) const {
  Match match;
  if (!node_.is_strict() || is_icmp(tuple.protocol)) return match;
  if (node_.is_local(tuple.destination.address, view) || view.is_local(tuple.destination.address)) return match;
  if (cluster_ips_.contains(tuple.destination.address)) {
    match.action = Action::reject;
    match.reason = Reason::no_such_port;
  } else if (node_.is_service_address(tuple.destination.address)) {
    match.action = Action::drop;
    match.reason = Reason::unallocated;
  }
  return match;
}

bool Snapshot::admits(const ServicePort& port, const net::Tuple& tuple, const node::NodeView& view) const {
  if (port.admits(tuple.source.address)) return true;
  const auto node = node_.primary(tuple.destination.address.family(), view);
  if (!node || !port.admits(*node)) return false;
  const auto& vips = port.service().load_balancer_ips;
  return std::find(vips.begin(), vips.end(), tuple.source.address) != vips.end();
}

Match Snapshot::match_cluster_ip(Match match, const datapath::NewConnection& connection) const {
  const auto& [protocol, source, destination] = connection.tuple;
  match.set = match.port->service().internal_policy == TrafficPolicy::local ? Set::local : Set::cluster;
  if (node_.masquerade_all()) {
    match.masquerade = MasqueradeRule::everything;
  } else if (source.address == destination.address) {
    match.masquerade = MasqueradeRule::own_vip;
  } else if (!node_.has_detector(destination.address.family())) {
    match.masquerade = MasqueradeRule::no_detector;
  } else {
    match.masquerade = match.origin == Origin::pod ? MasqueradeRule::from_pod : MasqueradeRule::not_from_pod;
  }
  return conclude(match);
}

Match Snapshot::match_external(Match match, const datapath::NewConnection& connection,
                               const node::NodeView& view) const {
  if (match.port->service().external_policy == TrafficPolicy::cluster) {
    match.masquerade = MasqueradeRule::external_cluster;
  } else if (match.origin == Origin::pod) {
    match.masquerade = MasqueradeRule::from_pod;
  } else if (match.origin == Origin::node) {
    match.masquerade = MasqueradeRule::from_node;
  } else {
    match.set = Set::local;
    match.masquerade = MasqueradeRule::local_policy;
  }
  match = conclude(match);
  const bool refused = match.door == Door::load_balancer && !admits(*match.port, connection.tuple, view);
  if (refused && match.action != Action::reject) {
    match.action = Action::drop;
    match.reason = Reason::source_range;
  }
  return match;
}

std::vector<std::string> Snapshot::candidates(const Match& match) const {
  return match.action == Action::dnat ? match.port->candidates(match.set) : std::vector<std::string>{};
}

datapath::DiversionPlan Snapshot::diversion(const node::NodeView& view) const {
  datapath::DiversionPlan plan;
  plan.locals = node_.locals(view);
  const std::vector<net::Address> node_port_addresses = node_.node_port_addresses(view);
  const auto own = [&](const net::Address& address) {
    return std::find(plan.locals.begin(), plan.locals.end(), address) != plan.locals.end();
  };
  for (const auto& port : ports_) {
    const Service& service = port->service();
    const auto vip = [&](const net::Address& address) {
      plan.services.push_back({service.protocol, {address, service.port}});
    };
    if (service.cluster_ip) {
      vip(*service.cluster_ip);
      if (echo_ == IcmpEcho::reply && !own(*service.cluster_ip)) {
        plan.services.push_back(echo_request_to(*service.cluster_ip));
      }
    }
    for (const net::Address& address : service.external_ips) vip(address);
    for (const net::Address& address : service.load_balancer_ips) vip(address);
    for (const net::Address& address : node_port_addresses) {
      if (service.node_port == 0 || address.family() != service.family()) continue;
      plan.services.push_back({service.protocol, {address, service.node_port}});
    }
    for (const Endpoint& endpoint : service.endpoints) plan.endpoints.push_back({service.protocol, endpoint.at});
  }
  if (node_.is_strict()) {
    for (const net::Address& address : cluster_ips_) {
      if (!own(address) && !node_.is_service_address(address)) plan.addresses.push_back(address);
    }
    plan.prefixes = node_.service_cidrs();
  }
  datapath::each_list([&](auto list) { sort_unique(plan.*list); });
  return plan;
}

}  // namespace limpet::service
