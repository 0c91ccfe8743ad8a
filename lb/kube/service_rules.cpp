#include "lb/kube/service_rules.h"

#include <algorithm>
#include <cstdio>

#include "lb/rules/chain_names.h"

namespace limpet::kube {
namespace {

using service::MasqueradeMode;
using service::Service;
using service::Set;
using service::TrafficPolicy;

constexpr const char* kServices = "KUBE-SERVICES";
constexpr const char* kExternal = "KUBE-EXTERNAL-SERVICES";
constexpr const char* kFirewall = "KUBE-PROXY-FIREWALL";
constexpr const char* kNodePorts = "KUBE-NODEPORTS";
constexpr const char* kFromNode = "-m addrtype --src-type LOCAL ";

std::vector<std::uint32_t> gather(const Service& service, const service::EndpointSets& sets, Set set) {
  std::vector<std::uint32_t> result;
  if (!uses(service, set)) return result;
  for (std::uint32_t i = 0; i < service.endpoints.size(); ++i) {
    if (sets.left_out(i, set) == service::LeftOut::no) result.push_back(i);
  }
  std::ranges::sort(result, {}, [&](std::uint32_t i) { return service.endpoints[i].at.to_string(); });
  return result;
}

std::string jump(const std::string& chain) {
  return " -j " + chain;
}

}  // namespace

std::string probability(double share) {
  char text[32];
  std::snprintf(text, sizeof text, "%.10f", share);
  return text;
}

ServiceRules::ServiceRules(const Service& service, const service::Place& place, const NodeWords& node,
                           const AffinityLists& lists)
    : service_(service),
      node_(node),
      lists_(lists),
      sets_(service, place),
      cluster_(gather(service, sets_, Set::cluster)),
      local_(gather(service, sets_, Set::local)),
      protocol_(net::to_string(service.protocol)),
      svc_(rules::cluster_chain(service.name, service.protocol)),
      svl_(rules::local_chain(service.name, service.protocol)),
      ext_(rules::external_chain(service.name, service.protocol)),
      fw_(rules::firewall_chain(service.name, service.protocol)) {}

void ServiceRules::write(TableText& nat, TableText& filter) const {
  write_cluster_ip(nat, filter);
  write_external_ips(nat, filter);
  write_load_balancers(nat, filter);
  write_node_port(nat, filter);
  if (service_.health_check_node_port != 0) {
    filter.append(kNodePorts, "-p tcp " + comment(named("health check node port")) + " -m tcp --dport " +
                                  std::to_string(service_.health_check_node_port) + " -j ACCEPT");
  }
  write_external_chain(nat);
  write_firewall_chain(nat);
  write_balancing(nat, svc_, Set::cluster);
  write_balancing(nat, svl_, Set::local);
  std::vector<std::uint32_t> reachable = cluster_;
  reachable.insert(reachable.end(), local_.begin(), local_.end());
  std::ranges::sort(reachable, {}, [&](std::uint32_t i) { return service_.endpoints[i].at.to_string(); });
  reachable.erase(std::unique(reachable.begin(), reachable.end()), reachable.end());
  for (const std::uint32_t index : reachable) write_endpoint(nat, index);
}

ServiceRules::Outcome ServiceRules::outcome(TrafficPolicy policy) const {
  if (!sets_.usable) return {false, node_.refusal(service_.protocol), "has no endpoints"};
  if (policy == TrafficPolicy::local && local_.empty()) return {false, "-j DROP", "has no local endpoints"};
  return {true, {}, {}};
}

bool ServiceRules::has_firewall() const noexcept {
  return sets_.usable && !service_.load_balancer_ips.empty() && !service_.source_ranges.empty();
}

std::string ServiceRules::destination(const net::Address& address, std::string_view words) const {
  return "-d " + exact(address) + " -p " + protocol_ + " " + comment(named(words)) + " -m " + protocol_ + " --dport " +
         std::to_string(service_.port);
}

std::string ServiceRules::node_port_destination(std::string_view condition, std::string_view words) const {
  return std::string(condition) + (condition.empty() ? "" : " ") + "-p " + protocol_ + " " + comment(words) + " -m " +
         protocol_ + " --dport " + std::to_string(service_.node_port);
}

void ServiceRules::write_cluster_ip(TableText& nat, TableText& filter) const {
  if (!service_.cluster_ip) return;
  const Outcome internal = outcome(service_.internal_policy);
  if (!internal.served) {
    filter.append(kServices, destination(*service_.cluster_ip, internal.why) + " " + internal.refusal);
    return;
  }
  const std::string to_it = destination(*service_.cluster_ip, "cluster IP");
  const std::string& chain = service_.internal_policy == TrafficPolicy::local ? svl_ : svc_;
  nat.append(kServices, to_it + jump(chain));
  if (!marks()) return;
  if (node_.masquerade_all) {
    nat.append(chain, to_it + jump(kMark));
  } else if (node_.has_detector()) {
    nat.append(chain, node_.if_outsider() + to_it + jump(node_.mark_of_outsiders()));
  }
}

void ServiceRules::write_external_ips(TableText& nat, TableText& filter) const {
  const Outcome external = outcome(service_.external_policy);
  for (const net::Address& address : service_.external_ips) {
    if (sets_.usable) nat.append(kServices, destination(address, "external IP") + jump(ext_));
    if (!external.served) filter.append(kExternal, destination(address, external.why) + " " + external.refusal);
  }
}

void ServiceRules::write_load_balancers(TableText& nat, TableText& filter) const {
  const Outcome external = outcome(service_.external_policy);
  for (const net::Address& address : service_.load_balancer_ips) {
    if (sets_.usable) {
      nat.append(kServices, destination(address, "loadbalancer IP") + jump(has_firewall() ? fw_ : ext_));
    }
    if (has_firewall()) filter.append(kFirewall, destination(address, "traffic not accepted by " + fw_) + " -j DROP");
    if (!external.served) filter.append(kExternal, destination(address, external.why) + " " + external.refusal);
  }
}

void ServiceRules::write_node_port(TableText& nat, TableText& filter) const {
  if (service_.node_port == 0) return;
  const Outcome external = outcome(service_.external_policy);
  if (sets_.usable) nat.append(kNodePorts, node_port_destination("", service_.name) + jump(ext_));
  if (external.served) return;
  // kube-proxy's iptables mode refuses on every address of the node, its nftables mode where node ports listen.
  const std::vector<std::string> everywhere{"-m addrtype --dst-type LOCAL"};
  for (const std::string& condition : node_.strict ? node_.node_ports : everywhere) {
    filter.append(kExternal, node_port_destination(condition, named(external.why)) + " " + external.refusal);
  }
}

void ServiceRules::write_external_chain(TableText& nat) const {
  if (!sets_.usable || !service_.is_external()) return;
  nat.declare(ext_);
  const auto about = [&](const std::string& what) { return comment(what + " " + named("external destinations")); };
  if (service_.external_policy == TrafficPolicy::cluster) {
    if (marks()) nat.append(ext_, about("masquerade traffic for") + jump(kMark));
    nat.append(ext_, "-j " + svc_);
    return;
  }
  for (const std::string& pod : node_.pods) nat.append(ext_, pod + " " + about("pod traffic for") + jump(svc_));
  if (marks()) nat.append(ext_, about("masquerade LOCAL traffic for") + " " + kFromNode + "-j " + kMark);
  nat.append(ext_, about("route LOCAL traffic for") + " " + kFromNode + "-j " + svc_);
  if (!local_.empty()) nat.append(ext_, "-j " + svl_);
}

void ServiceRules::write_firewall_chain(TableText& nat) const {
  if (!has_firewall()) return;
  const std::string to = comment(named("loadbalancer IP")) + jump(ext_);
  bool node_too = false;
  for (const net::Prefix& range : service_.source_ranges) {
    nat.append(fw_, "-s " + range.to_string() + " " + to);
    node_too = node_too || (node_.primary && range.contains(*node_.primary));
  }
  if (!node_too) return;
  // What the node sends to the VIP may loop back with the VIP as its source.
  for (const net::Address& vip : service_.load_balancer_ips) nat.append(fw_, "-s " + exact(vip) + " " + to);
}

void ServiceRules::write_balancing(TableText& nat, const std::string& chain, Set set) const {
  const std::vector<std::uint32_t>& indexes = members(set);
  if (indexes.empty()) return;
  if (service_.masquerade == MasqueradeMode::always) {
    nat.append(chain, comment(named("is always masqueraded")) + jump(kMark));
  }
  const auto sep = [&](std::uint32_t index) {
    return rules::endpoint_chain(service_.name, service_.protocol, service_.endpoints[index].at);
  };
  const auto about = [&](std::uint32_t index) {
    return comment(named("-> " + service_.endpoints[index].at.to_string()));
  };
  if (service_.affinity_timeout) {
    const bool keeps = service_.affinity_refresh == service::AffinityRefresh::never;
    for (const std::uint32_t index : indexes) {
      for (const std::string& list : lists_.of(service_, index).asked) {
        nat.append(chain, about(index) + recent("--rcheck", list) + jump(sep(index) + (keeps ? "-K" : "")));
      }
    }
  }
  std::uint64_t left = 0;
  for (const std::uint32_t index : indexes) left += service_.endpoints[index].weight;
  for (const std::uint32_t index : indexes) {
    const std::uint64_t weight = service_.endpoints[index].weight;
    const std::string chance = " -m statistic --mode random --probability " +
                               probability(static_cast<double>(weight) / static_cast<double>(left));
    nat.append(chain, about(index) + (index == indexes.back() ? "" : chance) + jump(sep(index)));
    left -= weight;
  }
}

std::string ServiceRules::recent(std::string_view operation, const std::string& list) const {
  const unsigned bits = node_.family == net::Family::v4 ? 32 : 128;
  std::vector<std::byte> ones(bits / 8, std::byte{0xff});
  const auto mask = net::Address::from_wire(node_.family, ones.data());
  const unsigned length = service_.affinity_prefix == 0 ? bits : service_.affinity_prefix;
  std::string words = " -m recent " + std::string(operation);
  const auto seconds = service_.affinity_timeout->count();
  if (operation == "--rcheck" && seconds != 0) words += " --seconds " + std::to_string(seconds) + " --reap";
  return words + " --name " + list + " --mask " + mask.masked(length).to_string() + " --rsource";
}

void ServiceRules::write_endpoint(TableText& nat, std::uint32_t index) const {
  const std::string chain = rules::endpoint_chain(service_.name, service_.protocol, service_.endpoints[index].at);
  const bool remembers = service_.affinity_timeout.has_value();
  write_endpoint_chain(nat, chain, index, remembers);
  if (remembers && service_.affinity_refresh == service::AffinityRefresh::never) {
    write_endpoint_chain(nat, chain + "-K", index, false);
  }
}

void ServiceRules::write_endpoint_chain(TableText& nat, const std::string& chain, std::uint32_t index,
                                        bool remembers) const {
  const net::AddressPort& at = service_.endpoints[index].at;
  if (service_.masquerade != MasqueradeMode::never) {
    nat.append(chain, "-s " + exact(at.address) + " " + comment(service_.name) + jump(kMark));
  }
  nat.append(chain, "-p " + protocol_ + " " + comment(service_.name) +
                        (remembers ? recent("--set", lists_.of(service_, index).set) : "") + " -m " + protocol_ +
                        " -j DNAT --to-destination " + at.to_string());
}

std::vector<std::string> ServiceRules::differences() const {
  std::vector<std::string> found;
  const auto tell = [&](const std::string& what) { found.push_back(service_.name + ": " + what); };
  const auto too_light = [&](const std::vector<std::uint32_t>& indexes) {
    constexpr std::uint64_t kParts = std::uint64_t{1} << 31U;  // the kernel's probabilities are so many
    std::uint64_t left = 0;
    return std::any_of(indexes.rbegin(), indexes.rend(), [&](std::uint32_t index) {
      const std::uint64_t weight = service_.endpoints[index].weight;
      left += weight;
      return weight * kParts < left;
    });
  };
  if (too_light(cluster_) || too_light(local_)) {
    tell("an endpoint's share is below 2^-31, the smallest that statistic has: nobody may be sent there");
  }
  if (!service_.affinity_timeout) return found;
  if (service_.affinity_refresh == service::AffinityRefresh::packets) {
    tell(
        "sessionAffinity.clientIP.refresh: packets: rules see the first packet of a connection only, so its others "
        "keep no client's affinity alive");
  }
  const auto drains = [](const service::Endpoint& endpoint) { return endpoint.weight == 0; };
  if (std::ranges::any_of(service_.endpoints, drains)) {
    tell(
        "an endpoint of weight 0 has no rules, so the kernel forgets its clients; limpet remembers them until it "
        "returns");
  }
  return found;
}

}  // namespace limpet::kube
