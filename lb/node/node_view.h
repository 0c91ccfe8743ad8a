// node_view.h: what limpet knows of the node it runs on: addresses, interfaces, routes. Immutable.
//
//   is_local(a)            does the node own this address?                    (nodePorts, LOCAL sources)
//   egress(family, oif, d) the source address that MASQUERADE would choose    (net/netfilter/nf_nat_masquerade.c)
//   interface_name(i)      for InterfaceNamePrefix and BridgeInterface detectors, and for logs
//
// Egress, IPv4 (inet_select_addr): of the out-interface's primary addresses of global scope, the one whose subnet holds the next hop,
// else the first; else the first such address of another interface. IPv6 (ipv6_dev_get_saddr): of the out-interface's global,
// usable addresses the one with the longest prefix in common with the destination; else another interface's.
// The next hop is the route's gateway, or the destination itself where it is on link. Routes are those of the main table.
//
// Built by NodeViewBuilder (tests) or from rtnetlink (node_monitor.h), published whole: workers only read.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "conntrack/net/address.h"

namespace limpet::node {

struct AddressHash {
  std::size_t operator()(const net::Address& address) const noexcept {
    const auto words = address.words();
    return static_cast<std::size_t>((words[0] * 0x9e3779b97f4a7c15) ^ (words[1] + 0x632be59bd9b4e019 + (words[0] >> 29)));
  }
};

/// One address of an interface, as RTM_NEWADDR tells it.
struct InterfaceAddress {
  std::uint32_t interface = 0;
  net::Address address;
  unsigned prefix_length = 0;
  bool global_scope = true;
  bool secondary = false;  // IPv4 IFA_F_SECONDARY
  bool usable = true;      // IPv6: neither tentative, failed nor deprecated
};

/// One unicast route of the main table.
struct Route {
  net::Prefix destination;
  std::uint32_t interface = 0;
  std::optional<net::Address> gateway;
  std::uint32_t metric = 0;
};

class NodeView {
 public:
  NodeView() = default;
  NodeView(std::vector<InterfaceAddress> addresses, std::vector<Route> routes,
           std::unordered_map<std::uint32_t, std::string> interfaces);

  bool is_local(const net::Address& address) const noexcept {
    return local_.contains(address) || (address.is_v4() && address.is_loopback());
  }
  /// Every address of the node, in the kernel's order.
  const std::vector<InterfaceAddress>& addresses() const noexcept { return addresses_; }
  /// nullopt if the node has no address of that family that fits.
  std::optional<net::Address> egress(std::uint32_t out_interface, const net::Address& destination) const;
  /// Empty if unknown.
  std::string_view interface_name(std::uint32_t index) const noexcept;
  /// The source address of the default route (its egress address), the node's primary address. nullopt without such a route.
  std::optional<net::Address> primary(net::Family family) const;
  /// Longest prefix match over all interfaces; nullptr if no route covers it.
  const Route* route_to(const net::Address& destination) const noexcept;

 private:
  std::vector<InterfaceAddress> addresses_;
  std::vector<Route> routes_;  // longest prefix first, then lowest metric
  std::unordered_map<std::uint32_t, std::string> interfaces_;
  std::unordered_set<net::Address, AddressHash> local_;
};

}  // namespace limpet::node
