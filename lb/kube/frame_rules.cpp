#include "lb/kube/frame_rules.h"

namespace limpet::kube {
namespace {

const std::string kNew = "-m conntrack --ctstate NEW ";

void begin_nat(const NodeWords& node, TableText& nat) {
  for (const char* const chain : {"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"}) nat.declare_built_in(chain);
  for (const char* const chain : {"KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ"}) {
    nat.declare(chain);
  }
  for (const char* const chain : {"PREROUTING", "OUTPUT"}) {
    nat.append(chain, comment("kubernetes service portals") + " -j KUBE-SERVICES");
  }
  nat.append("POSTROUTING", comment("kubernetes postrouting rules") + " -j KUBE-POSTROUTING");
  nat.append("KUBE-POSTROUTING", "-m mark ! --mark 0x4000/0x4000 -j RETURN");
  nat.append("KUBE-POSTROUTING", "-j MARK --set-xmark 0x4000/0x0");
  nat.append("KUBE-POSTROUTING",
             comment("kubernetes service traffic requiring SNAT") + " -j MASQUERADE --random-fully");
  nat.append(kMark, "-j MARK --set-xmark 0x4000/0x4000");
  if (node.pods.size() < 2) return;
  for (const std::string& pod : node.pods) nat.append(kMarkOutsiders, pod + " -j RETURN");
  nat.append(kMarkOutsiders, "-j " + kMark);
}

void begin_filter(const NodeWords& node, TableText& filter) {
  const std::string firewall = kNew + comment("kubernetes load balancer firewall") + " -j KUBE-PROXY-FIREWALL";
  const std::string services = kNew + comment("kubernetes service portals") + " -j KUBE-SERVICES";
  const std::string external =
      kNew + comment("kubernetes externally-visible service portals") + " -j KUBE-EXTERNAL-SERVICES";
  for (const char* const chain : {"INPUT", "FORWARD", "OUTPUT"}) filter.declare_built_in(chain);
  for (const char* const chain :
       {"KUBE-SERVICES", "KUBE-EXTERNAL-SERVICES", "KUBE-NODEPORTS", "KUBE-FORWARD", "KUBE-PROXY-FIREWALL"}) {
    filter.declare(chain);
  }
  if (node.localhost_node_ports) {  // CVE-2020-8558: route_localnet lets others speak to 127.0.0.0/8
    for (const char* const chain : {"INPUT", "OUTPUT"}) filter.append(chain, "-j KUBE-FIREWALL");
    filter.append("KUBE-FIREWALL", "! -s 127.0.0.0/8 -d 127.0.0.0/8 " + comment("block incoming localnet connections") +
                                       " -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP");
  }
  for (const char* const chain : {"INPUT", "FORWARD", "OUTPUT"}) filter.append(chain, firewall);
  filter.append("INPUT", comment("kubernetes health check service ports") + " -j KUBE-NODEPORTS");
  filter.append("INPUT", external);
  filter.append("FORWARD", comment("kubernetes forwarding rules") + " -j KUBE-FORWARD");
  filter.append("FORWARD", services);
  filter.append("FORWARD", external);
  filter.append("OUTPUT", services);
  if (node.strict) filter.append("OUTPUT", external);
  filter.append("KUBE-FORWARD", "-m conntrack --ctstate INVALID -j DROP");
  filter.append("KUBE-FORWARD", comment("kubernetes forwarding rules") + " -m mark --mark 0x4000/0x4000 -j ACCEPT");
  filter.append("KUBE-FORWARD", comment("kubernetes forwarding conntrack rule") +
                                    " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT");
}

}  // namespace

void begin_frame(const NodeWords& node, TableText& nat, TableText& filter) {
  begin_nat(node, nat);
  begin_filter(node, filter);
}

void end_frame(const NodeWords& node, const std::vector<net::Address>& cluster_ips, TableText& nat, TableText& filter) {
  const std::string last =
      comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain") + " -j KUBE-NODEPORTS";
  for (const std::string& condition : node.node_ports) nat.append("KUBE-SERVICES", condition + " " + last);
  if (!node.strict) return;
  const std::string others = node.family == net::Family::v4 ? " ! -p icmp " : " ! -p ipv6-icmp ";
  for (const net::Address& address : cluster_ips) {
    filter.append("KUBE-SERVICES", "-d " + exact(address) + others + comment("no such port of a cluster IP") + " " +
                                       node.refusal(net::Protocol::udp));
  }
  for (const net::Prefix& cidr : node.service_cidrs) {
    filter.append("KUBE-SERVICES", "-d " + cidr.to_string() + others + comment("no cluster IP") + " -j DROP");
  }
}

}  // namespace limpet::kube
