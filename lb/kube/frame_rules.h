// frame_rules.h: the rules that kube-proxy's iptables mode always writes around those of services.
//
//   nat      PREROUTING, OUTPUT ─▶ KUBE-SERVICES; at its end ─▶ KUBE-NODEPORTS
//            POSTROUTING ─▶ KUBE-POSTROUTING: what is marked is masqueraded, the mark taken off
//            KUBE-MARK-MASQ: the mark, 0x4000
//   filter   INPUT    KUBE-FIREWALL, KUBE-PROXY-FIREWALL, KUBE-NODEPORTS, KUBE-EXTERNAL-SERVICES
//            FORWARD  KUBE-PROXY-FIREWALL, KUBE-FORWARD, KUBE-SERVICES, KUBE-EXTERNAL-SERVICES
//            OUTPUT   KUBE-FIREWALL, KUBE-PROXY-FIREWALL, KUBE-SERVICES
//
// in the order in which packets meet them (kube-proxy puts each before the last, so its code reads in reverse).
//
// With compat: nftables, as that mode does: other ports of a clusterIP are refused and what nobody has of serviceCIDRs
// is dropped, at the end of KUBE-SERVICES; OUTPUT asks KUBE-EXTERNAL-SERVICES, too.
//
// Left out: the canary chains and nfacct counters, which decide nothing, and the kubelet's own chains.
// Source: pkg/proxy/iptables/proxier.go, iptablesJumpChains and syncProxyRules (v1.34). Pure; any thread.
#pragma once

#include <vector>

#include "lb/kube/node_words.h"
#include "lb/kube/table_text.h"

namespace limpet::kube {

/// Before any service's.
void begin_frame(const NodeWords& node, TableText& nat, TableText& filter);
/// Behind all services'. `cluster_ips`: of the node's family.
void end_frame(const NodeWords& node, const std::vector<net::Address>& cluster_ips, TableText& nat, TableText& filter);

}  // namespace limpet::kube
