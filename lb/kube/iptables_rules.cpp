#include "lb/kube/iptables_rules.h"

#include <algorithm>
#include <iterator>

#include "lb/kube/affinity_lists.h"
#include "lb/kube/frame_rules.h"
#include "lb/kube/node_words.h"
#include "lb/kube/service_rules.h"
#include "lb/kube/table_text.h"

namespace limpet::kube {
namespace {

using service::Config;
using service::Service;

/// Why iptables has no rules for it; empty: it has.
std::string why_left_out(const Service& service) {
  if (service.protocol == net::Protocol::udplite) return "the DNAT of iptables gives UDP-Lite no port: left out";
  return {};
}

void note_settings(const Config& config, std::vector<std::string>& notes) {
  if (config.icmp_echo == service::IcmpEcho::reply) {
    notes.push_back("icmpEcho: reply: rules answer no echo requests to a clusterIP");
  }
  if (!config.rules.file.empty()) {
    notes.push_back("rules.file: " + config.rules.file + " is a program already: it is not part of this one");
  }
}

void note_lists(const std::vector<Service>& services, std::vector<std::string>& notes) {
  const auto remembers = [](const Service& service) { return service.affinity_timeout.has_value(); };
  const auto count = std::ranges::count_if(services, remembers);
  if (count == 0) return;
  notes.push_back(
      std::to_string(count) + (count == 1 ? " service has" : " services have") +
      " sessionAffinity: the kernel remembers 100 clients of each endpoint, and the next one pushes out the "
      "longest unseen; load xt_recent with ip_list_tot=N for more");
}

std::vector<net::Address> cluster_ips(const std::vector<Service>& services) {
  std::vector<net::Address> result;
  for (const Service& service : services) {
    if (service.cluster_ip) result.push_back(*service.cluster_ip);
  }
  std::ranges::sort(result);
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

}  // namespace

ExportedRules export_rules(const Config& config, const node::NodeView& view, net::Family family) {
  ExportedRules exported;
  std::vector<Service> services;
  for (const Service& service : config.services) {
    if (service.family() != family) continue;
    if (const std::string why = why_left_out(service); !why.empty()) {
      exported.notes.push_back(service.name + ": " + why);
    } else {
      services.push_back(service);
    }
  }
  const NodeWords node(config, view, family);
  const AffinityLists lists(services);
  const service::Place place{config.node.name, config.node.zone};
  TableText nat("nat"), filter("filter");
  begin_frame(node, nat, filter);
  for (const Service& service : services) {
    const ServiceRules rules(service, place, node, lists);
    rules.write(nat, filter);
    std::ranges::move(rules.differences(), std::back_inserter(exported.notes));
  }
  end_frame(node, cluster_ips(services), nat, filter);
  note_lists(services, exported.notes);
  note_settings(config, exported.notes);
  exported.text = filter.print() + nat.print();
  exported.services = services.size();
  return exported;
}

}  // namespace limpet::kube
