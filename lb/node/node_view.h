// node_view.h: what limpet knows of the node it runs on: addresses, interfaces, routes. Immutable.
//
//   is_local(a)            does the node own this address?                    (nodePorts, LOCAL sources)
//   egress(oif, d)         the source address that MASQUERADE would choose    (net/netfilter/nf_nat_masquerade.c)
//   interface_name(i)      for InterfaceNamePrefix and BridgeInterface detectors, and for logs
//
// Egress, IPv4 (inet_select_addr): of the out-interface's primary addresses of global scope, the one whose subnet holds
// the next hop, else the first; else the first such address of another interface, lowest index first. The subnet of a
// point-to-point address is its peer's. The next hop is the gateway of the out-interface's longest matching route, or
// the destination itself where that is on link. Routes are those of the main table; their "src" hint plays no part (nor
// does it in MASQUERADE).
//
// Egress, IPv6 (ipv6_dev_get_saddr, RFC 6724 section 5): of all global, usable addresses the best by, in this order: is
// the destination itself; not deprecated; on the out-interface; label equal to the destination's; not temporary;
// longest prefix in common with the destination, no longer than the address's own prefix; the first.
//
// The kernel goes further, on purpose not followed: use_tempaddr, ip addrlabel, VRF. And a link-local source is never
// chosen for a global destination (no reply would find it): nullopt instead.
//
// Built from plain vectors (tests) or from rtnetlink (node_monitor.h), published whole: workers only read.
// Cost: is_local one probe; egress one route lookup and a walk over the out-interface's addresses. Once per masqueraded
// flow.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/node/route_table.h"

namespace limpet::node {

/// One address of an interface, as RTM_NEWADDR tells it.
struct InterfaceAddress {
  std::uint32_t interface = 0;
  net::Address address;
  unsigned prefix_length = 0;
  bool global_scope = true;                         // RT_SCOPE_UNIVERSE
  bool secondary = false;                           // IPv4: not the first of its subnet
  bool usable = true;                               // IPv6: neither tentative nor a duplicate
  bool deprecated = false;                          // IPv6: past its preferred lifetime
  bool temporary = false;                           // IPv6: RFC 8981
  std::optional<net::Address> peer = std::nullopt;  // point-to-point: the other end
};

class NodeView {
 public:
  NodeView() = default;
  NodeView(std::vector<InterfaceAddress> addresses, std::vector<Route> routes,
           std::unordered_map<std::uint32_t, std::string> interfaces);

  bool is_local(const net::Address& address) const noexcept {
    return local_.contains(address) || (address.is_v4() && address.is_loopback());
  }
  /// Every address of the node: by interface index, then in the kernel's order.
  const std::vector<InterfaceAddress>& addresses() const noexcept { return addresses_; }
  /// nullopt if the node has no address of that family that fits.
  std::optional<net::Address> egress(std::uint32_t out_interface, const net::Address& destination) const;
  /// Empty if unknown.
  std::string_view interface_name(std::uint32_t index) const noexcept;
  /// The node's primary address: the source of its default route (the route's "src", else its egress address). nullopt
  /// without such a route.
  std::optional<net::Address> primary(net::Family family) const;
  /// Longest prefix match over all interfaces; nullptr if no route covers it.
  const Route* route_to(const net::Address& destination) const noexcept { return routes_.find(destination); }

 private:
  std::optional<net::Address> egress_v4(std::uint32_t out_interface, const net::Address& destination) const;
  std::optional<net::Address> egress_v6(std::uint32_t out_interface, const net::Address& destination) const;
  std::span<const InterfaceAddress> addresses_of(std::uint32_t interface) const noexcept;

  std::vector<InterfaceAddress> addresses_;  // sorted by interface, stable
  RouteTable routes_;
  std::unordered_map<std::uint32_t, std::string> interfaces_;
  std::unordered_set<net::Address, AddressHash> local_;
};

}  // namespace limpet::node
