// node_words.h: the node's side of kube-proxy's rules, in one family, as words of iptables.
//
//   pods         ClusterCIDR, NodeCIDR     -s 10.0.0.0/8        one condition for each CIDR: any of them is a pod's
//                BridgeInterface           -i cbr0
//                InterfaceNamePrefix       -i veth+
//                none                      no condition: pods cannot be told from others
//   node ports   every address             -m addrtype --dst-type LOCAL, less loopback where it is not served
//                nodePortAddresses         -d ADDRESS           one condition for each such address of the node
//   refusal      -j REJECT --reject-with icmp-port-unreachable, or tcp-reset
//
// Source: pkg/proxy/util/localdetector.go, pkg/proxy/util/nodeport_addresses.go (v1.34). Immutable; any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/node/node_view.h"
#include "lb/service/config.h"
#include "lb/service/node_rules.h"

namespace limpet::kube {

/// Where several CIDRs are pods', this chain marks whoever is in none.
inline const std::string kMarkOutsiders = "KUBE-MARK-NONPOD";
inline const std::string kMark = "KUBE-MARK-MASQ";

/// "10.0.0.1/32"
std::string exact(const net::Address& address);

struct NodeWords {
  NodeWords(const service::Config& config, const node::NodeView& view, net::Family of);

  bool has_detector() const noexcept { return !pods.empty(); }
  /// How a rule for whoever is no pod begins, and where it leads. With a detector.
  std::string if_outsider() const { return pods.size() == 1 ? "! " + pods.front() + " " : ""; }
  const std::string& mark_of_outsiders() const { return pods.size() == 1 ? kMark : kMarkOutsiders; }
  std::string refusal(net::Protocol protocol) const;

  net::Family family;
  std::vector<std::string> pods;
  std::vector<std::string> node_ports;
  std::optional<net::Address> primary;
  bool masquerade_all;
  bool strict;                // compat: nftables
  bool localhost_node_ports;  // on 127.0.0.0/8
  bool tcp_reset;
  std::vector<net::Prefix> service_cidrs;  // of the family; only where `strict`
};

}  // namespace limpet::kube
