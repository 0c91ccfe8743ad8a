#include "lb/service/node_rules.h"

#include <algorithm>
#include <cstddef>
#include <string_view>

namespace limpet::service {
namespace {

bool any_contains(const std::vector<net::Prefix>& prefixes, const net::Address& address) {
  return std::any_of(prefixes.begin(), prefixes.end(), [&](const net::Prefix& p) { return p.contains(address); });
}

}  // namespace

NodeRules::NodeRules(const NodeConfig& config)
    : config_(config), addresses_(config.addresses.begin(), config.addresses.end()) {}

bool NodeRules::has_detector(net::Family family) const noexcept {
  using Mode = LocalDetector::Mode;
  const LocalDetector& detector = config_.detect_local;
  if (detector.mode == Mode::none) return false;
  if (detector.mode == Mode::bridge_interface || detector.mode == Mode::interface_name_prefix) return true;
  return std::any_of(detector.cidrs.begin(), detector.cidrs.end(),
                     [&](const net::Prefix& cidr) { return cidr.address().family() == family; });
}

bool NodeRules::is_pod(const datapath::NewConnection& connection, const node::NodeView& view) const {
  using Mode = LocalDetector::Mode;
  const LocalDetector& detector = config_.detect_local;
  switch (detector.mode) {
    case Mode::none:
      return false;
    case Mode::cluster_cidr:
    case Mode::node_cidr:
      return any_contains(detector.cidrs, connection.tuple.source.address);
    case Mode::bridge_interface:
      return connection.in_interface != 0 && view.interface_name(connection.in_interface) == detector.interface;
    case Mode::interface_name_prefix:
      return connection.in_interface != 0 &&
             view.interface_name(connection.in_interface).starts_with(detector.interface);
  }
  return false;
}

Origin NodeRules::origin(const datapath::NewConnection& connection, const node::NodeView& view) const {
  if (is_pod(connection, view)) return Origin::pod;
  return is_local(connection.tuple.source.address, view) ? Origin::node : Origin::outside;
}

bool NodeRules::is_local(const net::Address& address, const node::NodeView& view) const {
  if (addresses_.empty()) return view.is_local(address);
  return addresses_.contains(address) || address.is_loopback();
}

bool NodeRules::accepts_node_ports(const net::Address& address, const node::NodeView& view) const {
  const bool loopback_too = address.is_v4() && config_.localhost_node_ports && !is_strict();
  if (address.is_loopback() && !loopback_too) return false;
  return is_local(address, view) && chosen_for_node_ports(address, view);
}

bool NodeRules::chosen_for_node_ports(const net::Address& address, const node::NodeView& view) const {
  if (config_.node_port_primary_only) return primary(address.family(), view) == address;
  return chooses_all(address.family()) || any_contains(config_.node_port_addresses, address);
}

bool NodeRules::chooses_all(net::Family family) const noexcept {
  if (config_.node_port_primary_only) return false;
  bool any = false;
  for (const net::Prefix& cidr : config_.node_port_addresses) {
    if (cidr.address().family() != family) continue;
    if (cidr.length() == 0) return true;
    any = true;
  }
  return !any;
}

bool NodeRules::is_service_address(const net::Address& address) const noexcept {
  return any_contains(config_.service_cidrs, address);
}

std::optional<net::Address> NodeRules::primary(net::Family family, const node::NodeView& view) const {
  if (config_.node_ip && config_.node_ip->family() == family) return config_.node_ip;
  return view.primary(family);
}

std::vector<net::Address> NodeRules::locals(const node::NodeView& view) const {
  std::vector<net::Address> result = config_.addresses;
  for (const node::InterfaceAddress& entry : view.addresses()) result.push_back(entry.address);
  std::erase_if(result, [](const net::Address& address) { return address.is_loopback(); });
  return result;
}

std::vector<net::Address> NodeRules::node_port_addresses(const node::NodeView& view) const {
  std::vector<net::Address> result = own_addresses(view);
  std::erase_if(result, [&](const net::Address& address) { return !accepts_node_ports(address, view); });
  return result;
}

std::vector<net::Address> NodeRules::own_addresses(const node::NodeView& view) const {
  constexpr std::byte kLoopback6[16]{{}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, {}, std::byte{1}};
  std::vector<net::Address> result = locals(view);
  result.push_back(net::Address::from_v4(0x7f000001));
  result.push_back(net::Address::from_wire(net::Family::v6, kLoopback6));
  std::erase_if(result, [&](const net::Address& address) { return !is_local(address, view); });
  return result;
}

}  // namespace limpet::service
