// service_rules.h: the rules of one service port, as kube-proxy's iptables mode writes them.
//
//   nat     KUBE-SERVICES   clusterIP        ─▶ KUBE-SVC (internalTrafficPolicy Local: KUBE-SVL)
//                           externalIP       ─▶ KUBE-EXT
//                           load balancer    ─▶ KUBE-EXT, with loadBalancerSourceRanges KUBE-FW ─▶ KUBE-EXT
//           KUBE-NODEPORTS  nodePort         ─▶ KUBE-EXT
//           KUBE-EXT        Cluster: marked, ─▶ KUBE-SVC.  Local: pods ─▶ KUBE-SVC; the node, marked, ─▶ KUBE-SVC;
//                           others ─▶ KUBE-SVL
//           KUBE-SVC, -SVL  the set's endpoints, sorted as text: who is remembered, then by chance ─▶ KUBE-SEP
//           KUBE-SEP        hairpin marked; remembered; DNAT
//   filter  KUBE-SERVICES, KUBE-EXTERNAL-SERVICES   what has no endpoint: REJECT; where only the set is empty: DROP
//           KUBE-PROXY-FIREWALL                     what KUBE-FW turned away: DROP
//           KUBE-NODEPORTS                          healthCheckNodePort: ACCEPT
//
// And what kube-proxy cannot say and iptables can, by the same means:
//
//   weights              --probability weight / sum of those still to come (alike: 1/(n-i), as kube-proxy has it)
//   masquerade           always: every packet that comes to KUBE-SVC or KUBE-SVL is marked; never: none, no hairpin
//   timeoutSeconds: 0    recent without --seconds
//   refresh: never       who is remembered goes to KUBE-SEP-…-K, which remembers nobody
//   prefixLength         recent --mask
//   scope, group         recent lists of other names (affinity_lists.h)
//
// Source: pkg/proxy/iptables/proxier.go, syncProxyRules (v1.34). Pure; any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lb/kube/affinity_lists.h"
#include "lb/kube/node_words.h"
#include "lb/kube/table_text.h"
#include "lb/service/endpoint_sets.h"
#include "lb/service/service.h"

namespace limpet::kube {

/// "0.3333333333"
std::string probability(double share);

class ServiceRules {
 public:
  /// All outlive it. The service's family is the node's.
  ServiceRules(const service::Service& service, const service::Place& place, const NodeWords& node,
               const AffinityLists& lists);

  void write(TableText& nat, TableText& filter) const;
  /// What the rules do otherwise than limpet, in words.
  std::vector<std::string> differences() const;

 private:
  struct Outcome {  // of a policy
    bool served = false;
    std::string refusal;  // otherwise: "-j DROP"
    std::string why;      // "has no endpoints"
  };
  Outcome outcome(service::TrafficPolicy policy) const;
  const std::vector<std::uint32_t>& members(service::Set set) const {
    return set == service::Set::local ? local_ : cluster_;
  }

  void write_cluster_ip(TableText& nat, TableText& filter) const;
  void write_external_ips(TableText& nat, TableText& filter) const;
  void write_load_balancers(TableText& nat, TableText& filter) const;
  void write_node_port(TableText& nat, TableText& filter) const;
  void write_external_chain(TableText& nat) const;
  void write_firewall_chain(TableText& nat) const;
  void write_balancing(TableText& nat, const std::string& chain, service::Set set) const;
  void write_endpoint(TableText& nat, std::uint32_t index) const;
  void write_endpoint_chain(TableText& nat, const std::string& chain, std::uint32_t index, bool remembers) const;

  std::string destination(const net::Address& address, std::string_view words) const;
  std::string node_port_destination(std::string_view condition, std::string_view words) const;
  std::string named(std::string_view words) const { return service_.name + " " + std::string(words); }
  std::string recent(std::string_view operation, const std::string& list) const;
  bool has_firewall() const noexcept;
  bool marks() const noexcept { return service_.masquerade == service::MasqueradeMode::automatic; }

  const service::Service& service_;
  const NodeWords& node_;
  const AffinityLists& lists_;
  service::EndpointSets sets_;
  std::vector<std::uint32_t> cluster_,
      local_;  // indexes of endpoints, in the order of the rules; unused sets are empty
  std::string protocol_;
  std::string svc_, svl_, ext_, fw_;
};

}  // namespace limpet::kube
