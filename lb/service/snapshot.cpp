#include "lb/service/snapshot.h"

#include <algorithm>
#include <utility>

#include "conntrack/net/icmp.h"

namespace limpet::service {
namespace {

using datapath::Action;
using datapath::L4Address;
using datapath::Reason;

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

}  // namespace

Snapshot::Snapshot(const NodeConfig& node, std::span<const Service> services, std::vector<ServiceIds> ids,
                   IcmpEcho echo)
    : node_(node), echo_(echo) {
  const Place place{node_.name(), node_.zone()};
  for (std::size_t i = 0; i < services.size(); ++i) {
    add(std::make_shared<const ServicePort>(services[i], std::move(ids[i]), place), next_rank_++);
  }
}

std::shared_ptr<const Snapshot> Snapshot::changed(std::span<const std::shared_ptr<const ServicePort>> gone,
                                                  std::span<const std::shared_ptr<const ServicePort>> made) const {
  auto next = std::make_shared<Snapshot>(*this);
  for (const auto& port : gone) next->remove(*port);
  for (const auto& port : made) {
    const Listed* const former = ports_.find({port->service().name, port->service().family()});
    next->add(port, former != nullptr ? former->rank : next->next_rank_++);
  }
  return next;
}

void Snapshot::add(const std::shared_ptr<const ServicePort>& port, std::uint64_t rank) {
  const Service& service = port->service();
  ports_.set({service.name, service.family()}, Listed{rank, port});
  for_each_door(service, [&](const L4Address& at, Door door) {
    Dispatch& dispatch = door == Door::node_port ? node_ports_ : vips_;
    if (!dispatch.contains(at)) dispatch.set(at, Entry{port.get(), door});
  });
  if (!service.cluster_ip) return;
  const std::uint32_t* const before = cluster_ips_.find(*service.cluster_ip);
  cluster_ips_.set(*service.cluster_ip, before == nullptr ? 1 : *before + 1);
}

void Snapshot::remove(const ServicePort& port) {
  const Service& service = port.service();
  ports_.erase({service.name, service.family()});
  for_each_door(service, [&](const L4Address& at, Door door) {
    Dispatch& dispatch = door == Door::node_port ? node_ports_ : vips_;
    const Entry* const entry = dispatch.find(at);
    if (entry != nullptr && entry->port == &port) dispatch.erase(at);
  });
  if (!service.cluster_ip) return;
  const std::uint32_t left = *cluster_ips_.find(*service.cluster_ip) - 1;
  left == 0 ? static_cast<void>(cluster_ips_.erase(*service.cluster_ip)) : cluster_ips_.set(*service.cluster_ip, left);
}

Snapshot::Ports Snapshot::ports() const {
  std::vector<Listed> all;
  all.reserve(ports_.size());
  ports_.for_each([&](const PortName&, const Listed& listed) { all.push_back(listed); });
  std::ranges::sort(all, {}, &Listed::rank);
  Ports result;
  result.reserve(all.size());
  for (Listed& listed : all) result.push_back(std::move(listed.port));
  return result;
}

std::shared_ptr<const ServicePort> Snapshot::port(const std::string& name, net::Family family) const {
  const Listed* const found = ports_.find({name, family});
  return found == nullptr ? nullptr : found->port;
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
  if (const Entry* const vip = vips_.find({protocol, destination})) {
    match.port = vip->port;
    match.door = vip->door;
  } else {
    const Entry* const node_port =
        node_ports_.find(node_port_door(protocol, destination.address.family(), destination.port));
    if (node_port == nullptr) return match_none(connection.tuple, view);
    match.port = node_port->port;
    match.door = Door::node_port;
    match.listens = node_.accepts_node_ports(destination.address, view);
    const bool refused =
        refuses_everywhere(*match.port) && node_.is_local(destination.address, view) && !connection.midstream;
    if (!match.listens && !refused) return match_none(connection.tuple, view);
  }
  match.origin = node_.origin(connection, view);
  return match.door == Door::cluster_ip ? match_cluster_ip(match, connection) : match_external(match, connection, view);
}

Match Snapshot::match_none(const net::Tuple& tuple, const node::NodeView& view) const {
  Match match;
  if (!node_.is_strict() || is_icmp(tuple.protocol)) return match;
  if (is_own(tuple.destination.address, view)) return match;
  if (cluster_ips_.contains(tuple.destination.address)) {
    match.action = Action::reject;
    match.reason = Reason::no_such_port;
  } else if (node_.is_service_address(tuple.destination.address)) {
    match.action = Action::drop;
    match.reason = Reason::unallocated;
  }
  return match;
}

bool Snapshot::is_own(const net::Address& address, const node::NodeView& view) const {
  return node_.is_local(address, view) || view.is_local(address);
}

bool Snapshot::refuses_everywhere(const ServicePort& port) const noexcept {
  const bool local = port.service().external_policy == TrafficPolicy::local;
  return !node_.is_strict() && (!port.usable() || (local && port.empty(Set::local)));
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
  } else if (match.listens && match.origin == Origin::pod) {
    match.masquerade = MasqueradeRule::from_pod;
  } else if (match.listens && match.origin == Origin::node) {
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
  const bool by_external_services = match.reason == Reason::no_endpoints || match.reason == Reason::no_local;
  if (by_external_services && connection.hook == datapath::Hook::output && !node_.is_strict() &&
      !is_own(connection.tuple.destination.address, view)) {
    match.action = Action::none;
    match.reason = Reason::unrefused;
  }
  return match;
}

std::vector<std::string> Snapshot::candidates(const Match& match) const {
  return match.action == Action::dnat ? match.port->candidates(match.set) : std::vector<std::string>{};
}

datapath::DiversionPlan Snapshot::diversion_of(std::span<const std::shared_ptr<const ServicePort>> ports,
                                               const node::NodeView& view) const {
  datapath::DiversionPlan plan;
  const std::vector<net::Address> locals = node_.locals(view);
  const std::vector<net::Address> node_port_addresses = node_.node_port_addresses(view);
  const std::vector<net::Address> own_addresses = node_.own_addresses(view);
  const auto own = [&](const net::Address& address) {
    return std::find(locals.begin(), locals.end(), address) != locals.end();
  };
  for (const auto& port : ports) {
    const Service& service = port->service();
    for_each_door(service, [&](const L4Address& at, Door door) {
      if (door != Door::node_port) plan.services.push_back(at);
    });
    if (echo_ == IcmpEcho::reply && service.cluster_ip && !own(*service.cluster_ip)) {
      plan.services.push_back(echo_request_to(*service.cluster_ip));
    }
    for (const net::Address& address : refuses_everywhere(*port) ? own_addresses : node_port_addresses) {
      if (service.node_port == 0 || address.family() != service.family()) continue;
      plan.services.push_back({service.protocol, {address, service.node_port}});
    }
    for (const Endpoint& endpoint : service.endpoints) plan.endpoints.push_back({service.protocol, endpoint.at});
    if (node_.is_strict() && service.cluster_ip && !own(*service.cluster_ip) &&
        !node_.is_service_address(*service.cluster_ip)) {
      plan.addresses.push_back(*service.cluster_ip);
    }
  }
  return plan;
}

datapath::DiversionPlan Snapshot::diversion(const node::NodeView& view) const {
  datapath::DiversionPlan plan = diversion_of(ports(), view);
  plan.locals = node_.locals(view);
  if (node_.is_strict()) plan.prefixes = node_.service_cidrs();
  datapath::each_list([&](auto list) { datapath::sort_unique(plan.*list); });
  return plan;
}

}  // namespace limpet::service
