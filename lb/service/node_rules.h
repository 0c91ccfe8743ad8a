// node_rules.h: the node's side of every decision: who is a pod, who is this node, where nodePorts listen.
//
//   origin        pod      the local detector says so: source in podCIDRs, or input interface (kube-proxy
//                          --detect-local-mode). Asked first: an address of the node inside podCIDRs counts as a pod
//                 node     a source that is one of the node's own addresses
//                 outside  anybody else
//   detectors     of CIDRs know only their own families: with podCIDRs of IPv4 alone there is none for IPv6
//   nodePorts     listen on the node's addresses, all of them or those that nodePortAddresses chooses: CIDRs of one
//                 family say nothing of the other, which without any of its own listens on all of its addresses;
//                 on 127.0.0.0/8 only with localhostNodePorts (compat: nftables: never), on ::1 never
//   addresses     node.addresses if the configuration lists them, else what the NodeView holds: they decide what is
//                 local and where nodePorts listen
//
// Immutable, pure, O(1) but for the handful of CIDRs. Any number of threads.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_set>
#include <vector>

#include "lb/datapath/decider.h"
#include "lb/node/node_view.h"
#include "lb/service/config.h"

namespace limpet::service {

enum class Origin : std::uint8_t { outside, pod, node };

class NodeRules {
 public:
  explicit NodeRules(const NodeConfig& config);

  const std::string& name() const noexcept { return config_.name; }
  const std::string& zone() const noexcept { return config_.zone; }
  bool masquerade_all() const noexcept { return config_.masquerade_all; }
  /// Are connections to no service's port refused where the address is a service's (compat: nftables)?
  bool is_strict() const noexcept { return config_.compat == Compat::nftables; }
  const std::vector<net::Prefix>& service_cidrs() const noexcept { return config_.service_cidrs; }
  /// Is it in serviceCIDRs?
  bool is_service_address(const net::Address& address) const noexcept;
  /// The node's primary address, configured or as the NodeView has it; none: it has none of this family.
  std::optional<net::Address> primary(net::Family family, const node::NodeView& view) const;
  /// Can pods be told from others in this family?
  bool has_detector(net::Family family) const noexcept;
  Origin origin(const datapath::NewConnection& connection, const node::NodeView& view) const;
  bool is_local(const net::Address& address, const node::NodeView& view) const;
  bool accepts_node_ports(const net::Address& address, const node::NodeView& view) const;
  /// Does nodePortAddresses choose every address of this family? kube-proxy's NewNodePortAddresses.
  bool chooses_all(net::Family family) const noexcept;

  /// Where replies to masqueraded connections may arrive: what the configuration lists *and* what the NodeView holds,
  /// since any of the machine's addresses may be the egress address. Loopback left out; in no order, one may occur
  /// twice.
  std::vector<net::Address> locals(const node::NodeView& view) const;
  /// Those that accept node ports; likewise. Of 127.0.0.0/8 only 127.0.0.1 is named.
  std::vector<net::Address> node_port_addresses(const node::NodeView& view) const;
  /// All that are the node's own, whether they accept node ports or not; likewise. Of 127.0.0.0/8 only 127.0.0.1 is named.
  std::vector<net::Address> own_addresses(const node::NodeView& view) const;

 private:
  bool is_pod(const datapath::NewConnection& connection, const node::NodeView& view) const;
  bool chosen_for_node_ports(const net::Address& address, const node::NodeView& view) const;

  NodeConfig config_;
  std::unordered_set<net::Address, node::AddressHash> addresses_;
};

}  // namespace limpet::service
