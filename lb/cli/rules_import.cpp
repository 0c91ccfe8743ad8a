#include "lb/cli/rules_import.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <utility>

#include "conntrack/net/address.h"

namespace limpet::cli {
namespace {

using rules::Cascade;
using rules::Demands;
using rules::Frontend;
using rules::Route;
using rules::RuledFrontend;

/// What a view gives to whom: shares of those who are translated, they sum up to 1.
using View = std::map<net::AddressPort, double>;

/// In a YAML flow: addresses of IPv6 have colons.
std::string scalar(const std::string& text) {
  return text.find(':') == std::string::npos ? text : '"' + text + '"';
}

std::optional<std::string> protocol_word(std::optional<std::uint8_t> number) {
  if (!number) return std::nullopt;
  switch (static_cast<net::Protocol>(*number)) {
    case net::Protocol::tcp:
      return "TCP";
    case net::Protocol::udp:
      return "UDP";
    case net::Protocol::sctp:
      return "SCTP";
    case net::Protocol::udplite:
      return "UDPLite";
    default:
      return std::nullopt;
  }
}

/// Of the route that has no demands of its own: everybody whom none before it took.
const Route* route_for_everybody(const RuledFrontend& frontend) {
  const auto found = std::find_if(frontend.routes.begin(), frontend.routes.end(),
                                  [](const Route& route) { return route.when.empty(); });
  return found == frontend.routes.end() ? nullptr : &*found;
}

std::string place(const Frontend& at) {
  const std::string port = at.port ? std::to_string(*at.port) : "*";
  return std::string(rules::to_string(at.role)) + " " +
         (at.address ? net::AddressPort{*at.address, at.port.value_or(0)}.to_string() : port);
}

/// Loopback is no node port's (localhostNodePorts: false, here as there): rules that say so say nothing of a service.
rules::RuledService without_loopback(rules::RuledService service) {
  const auto excludes_loopback = [](const rules::Demand& demand) {
    const auto* const to = std::get_if<rules::DestinationIn>(&demand);
    if (to == nullptr || !to->network.inverted) return false;
    const std::string network = to->network.value.to_string();
    return network == "127.0.0.0/8" || network == "::1/128";
  };
  for (RuledFrontend& frontend : service.frontends) {
    if (frontend.at.role != Frontend::Role::node_port || !frontend.at.local) continue;
    for (Route& route : frontend.routes) std::erase_if(route.when, excludes_loopback);
  }
  return service;
}

class ServiceImporter {
 public:
  ServiceImporter(const rules::RuledService& service, std::string name, const LoadedRules& loaded,
                  const rules::Meaning& meaning, const std::string& node, ImportedRules& result)
      : service_(without_loopback(service)),
        name_(std::move(name)),
        loaded_(loaded),
        meaning_(meaning),
        node_(node),
        result_(result) {}

  /// Chooses what is imported. Networks of pods are added to `pods`.
  void prepare(std::set<std::string>& pods) {
    protocol_ = protocol_word(service_.protocol);
    if (!protocol_) return note("its protocol is none of TCP, UDP, SCTP and UDPLite: not imported");
    choose_frontends();
    for (const RuledFrontend& frontend : service_.frontends) find_pods(frontend, pods);
    if (cluster_ == nullptr && node_port_ == nullptr) note("it has neither clusterIP nor nodePort: not imported");
  }
  void run(bool pods_known) {
    if (cluster_ == nullptr && node_port_ == nullptr) return;
    pods_known_ = pods_known;
    inside_ = view_of(cluster_);
    outside_ = view_of(node_port_);
    write();
  }

 private:
  void note(const std::string& text) { result_.notes.push_back(name_ + ": " + text); }

  void choose_frontends() {
    for (const RuledFrontend& frontend : service_.frontends) {
      const Frontend& at = frontend.at;
      const bool vip = at.role == Frontend::Role::cluster_ip || at.role == Frontend::Role::address;
      if (!at.port) {
        note(place(at) + ": takes every port: not imported");
      } else if (vip && at.address && cluster_ == nullptr) {
        cluster_ = &frontend;
      } else if (at.role == Frontend::Role::node_port && node_port_ == nullptr) {
        node_port_ = &frontend;
        if (!at.local) note(place(at) + ": on this address only; set node.nodePortAddresses");
      } else {
        note(place(at) + ": a service has one clusterIP and one nodePort here: not imported");
      }
    }
  }

  /// Sources that the rules tell from others are pods.
  void find_pods(const RuledFrontend& frontend, std::set<std::string>& pods) {
    const auto add = [&](const Demands& demands, bool inverted) {
      for (const rules::Demand& demand : demands) {
        const auto* const source = std::get_if<rules::SourceIn>(&demand);
        if (source != nullptr && source->network.inverted == inverted) pods.insert(source->network.value.to_string());
      }
    };
    for (const Route& route : frontend.routes) {
      if (frontend.at.role == Frontend::Role::cluster_ip || &frontend == cluster_) {
        for (const Demands& when : route.masquerade) add(when, true);
      } else if (&frontend == node_port_ && route.cascade) {
        add(route.when, false);
      }
    }
  }

  /// nullopt: there is no such frontend, or it leads nowhere for everybody.
  std::optional<View> view_of(const RuledFrontend* frontend) {
    if (frontend == nullptr) return std::nullopt;
    for (const Route& route : frontend->routes) {
      if (!route.when.empty() && &route != short_circuit(*frontend, route)) {
        note(place(frontend->at) + ": " + print(route.when, loaded_.rules.family) +
             ": goes its own way there: not imported");
      }
    }
    const Route* const route = route_for_everybody(*frontend);
    if (route == nullptr || !route->cascade) return std::nullopt;
    return view_of(meaning_.balance.cascades[*route->cascade], frontend->at);
  }
  /// The route itself if it is of kube-proxy's short circuit: pods, and the node's own processes.
  const Route* short_circuit(const RuledFrontend& frontend, const Route& route) const {
    if (&frontend != node_port_ || !route.cascade || route.when.size() != 1) return nullptr;
    const auto* const kind = std::get_if<rules::KindIs>(&route.when.front());
    const bool own =
        kind != nullptr && !kind->destination && !kind->kinds.inverted && kind->kinds.value == rules::kLocal;
    return own || std::holds_alternative<rules::SourceIn>(route.when.front()) ? &route : nullptr;
  }
  View view_of(const Cascade& cascade, const Frontend& at) {
    View view;
    for (const rules::Pick& pick : cascade.picks) {
      const auto* const dnat = std::get_if<rules::Dnat>(&meaning_.balance.leaves[pick.leaf].to);
      const bool single = dnat != nullptr && dnat->to.addresses &&
                          dnat->to.addresses->first == dnat->to.addresses->last &&
                          (!dnat->to.ports || dnat->to.ports->first == dnat->to.ports->last);
      if (!single) {
        note(place(at) + ": an endpoint is not one address and port: not imported");
        continue;
      }
      const std::uint16_t port = dnat->to.ports ? dnat->to.ports->first : at.port.value_or(0);
      view[{dnat->to.addresses->first, port}] += pick.share / (1 - cascade.rest);
      round_robin_ = round_robin_ || std::holds_alternative<rules::NthRule>(pick.draw);
    }
    if (cascade.rest > 0) note(place(at) + ": some connections go on untranslated there: not imported");
    even_ = even_ && cascade.even;
    take_affinity(cascade);
    return view;
  }

  void take_affinity(const Cascade& cascade) {
    const auto affinity = affinity_of(meaning_.balance, cascade);
    const auto seconds = affinity && !affinity->by_destination ? std::optional(affinity->seconds) : std::nullopt;
    if (affinity && affinity->by_destination) note("its clients are told apart by destination: no sessionAffinity");
    if (affinity && (!affinity->complete || !affinity->alike)) note("not all endpoints remember their clients alike");
    if (viewed_ && seconds != seconds_) note("its views remember clients for different times: the longer is taken");
    viewed_ = true;
    if (!seconds) return;
    const bool longer = !seconds_ || (*seconds_ != 0 && (*seconds == 0 || *seconds > *seconds_));
    if (longer) seconds_ = seconds;
    const bool v4 = loaded_.rules.family == net::Family::v4;
    const auto length =
        rules::length_of_mask(affinity->mask.apply(rules::mask_of_length(loaded_.rules.family, v4 ? 32 : 128)));
    if (!length) note("its lists have a mask that is no prefix: clients are told apart in full");
    prefix_ = length && *length > 0 && *length < (v4 ? 32U : 128U) ? length : std::nullopt;
  }

  /// The endpoints of both, and which of them only this node's view has.
  struct Endpoints {
    View all;
    std::set<net::AddressPort> local;
    bool external_local = false, internal_local = false;
  };
  Endpoints join() {
    Endpoints result;
    if (inside_) result.all = *inside_;
    for (const auto& [at, share] : outside_.value_or(View())) result.all.emplace(at, share);
    const auto lacks = [&](const std::optional<View>& view) { return view && view->size() < result.all.size(); };
    const bool nobody_outside = node_port_ != nullptr && !outside_ && !result.all.empty();
    const bool nobody_inside = cluster_ != nullptr && !inside_ && !result.all.empty();
    result.external_local = lacks(outside_) || nobody_outside;
    result.internal_local = !result.external_local && (lacks(inside_) || nobody_inside);
    if (result.external_local && lacks(inside_))
      note("neither of its views has all endpoints: Local is not what it does");
    const std::optional<View>& smaller = result.external_local ? outside_ : inside_;
    if (result.external_local || result.internal_local) {
      for (const auto& [at, share] : smaller.value_or(View())) result.local.insert(at);
    }
    if (result.internal_local && outside_) result.all = *outside_;
    compare_shares(result, smaller);
    return result;
  }
  void compare_shares(const Endpoints& result, const std::optional<View>& smaller) {
    if (result.local.empty() || !smaller) return;
    double sum = 0;
    for (const net::AddressPort& at : result.local) sum += result.all.at(at);
    for (const auto& [at, share] : *smaller) {
      if (std::abs(result.all.at(at) / sum - share) > 1e-4)
        return note("its views share in other proportions: one set of weights is kept");
    }
  }

  std::string masquerade(const Endpoints& endpoints) {
    const RuledFrontend* const frontend = cluster_ != nullptr ? cluster_ : node_port_;
    const Route* const route = route_for_everybody(*frontend);
    if (route == nullptr || !route->cascade) return "auto";
    const bool always = route->always_masquerades(), never = route->masquerade.empty();
    if (frontend == cluster_ && never && pods_known_) {
      const Route* const outside = node_port_ == nullptr ? nullptr : route_for_everybody(*node_port_);
      if (outside == nullptr || outside->masquerade.empty()) return "never";
      note(place(cluster_->at) + ": is not masqueraded by the rules, but here where the source is no pod");
    }
    if (frontend == cluster_) return always ? "always" : "auto";
    return endpoints.external_local ? (always ? "always" : "auto") : (always ? "auto" : "never");
  }
  void compare_node_port(const Endpoints& endpoints, const std::string& mode) {
    if (node_port_ == nullptr) return;
    const Route* const route = route_for_everybody(*node_port_);
    if (route != nullptr && route->cascade) {
      const bool will = mode == "always" || (mode == "auto" && !endpoints.external_local);
      if (will != route->always_masquerades()) {
        note(place(node_port_->at) + (will ? ": is masqueraded here, but not by the rules"
                                           : ": is not masqueraded here, but (sometimes) by the rules"));
      }
    }
    const bool has_circuit = std::any_of(node_port_->routes.begin(), node_port_->routes.end(),
                                         [&](const Route& one) { return short_circuit(*node_port_, one) != nullptr; });
    if (endpoints.external_local && !has_circuit) {
      note(place(node_port_->at) + ": the rules give pods and this node's own processes the " +
           std::to_string(endpoints.local.size()) + " local endpoints, as everybody; here, as in today's kube-proxy, " +
           "they reach all " + std::to_string(endpoints.all.size()) + " (short circuit), the node's own masqueraded");
    }
  }

  void write() {
    const Endpoints endpoints = join();
    const std::string mode = masquerade(endpoints);
    compare_node_port(endpoints, mode);
    if (round_robin_) note("its round robin (statistic --mode nth) becomes a random choice of the same shares");
    std::string& yaml = result_.yaml;
    const auto line = [&](const std::string& key, const std::string& value) {
      yaml += "    " + key + ": " + value + "\n";
    };
    yaml += "  - name: " + name_ + "\n";
    if (cluster_ != nullptr) line("clusterIP", scalar(cluster_->at.address->to_string()));
    line("port", std::to_string(*(cluster_ != nullptr ? cluster_ : node_port_)->at.port));
    line("protocol", *protocol_);
    if (node_port_ != nullptr) line("nodePort", std::to_string(*node_port_->at.port));
    if (endpoints.external_local) line("externalTrafficPolicy", "Local");
    if (endpoints.internal_local) line("internalTrafficPolicy", "Local");
    if (seconds_) line("sessionAffinity", affinity());
    if (mode != "auto") line("masquerade", mode);
    if (endpoints.all.empty()) return line("endpoints", "[]");
    yaml += "    endpoints:\n";
    for (const auto& [at, share] : endpoints.all) {
      yaml += "      - {address: " + scalar(at.address.to_string()) + ", port: " + std::to_string(at.port);
      if (endpoints.local.contains(at)) yaml += ", nodeName: " + node_;
      if (!even_) yaml += ", weight: " + std::to_string(weight(share));
      yaml += "}\n";
    }
  }
  std::string affinity() {
    constexpr std::uint32_t kMost = 86400;
    if (*seconds_ > kMost)
      note("its affinity of " + std::to_string(*seconds_) + " s becomes the longest there is, 86400 s");
    return "{clientIP: {timeoutSeconds: " + std::to_string(std::min(*seconds_, kMost)) +
           (prefix_ ? ", prefixLength: " + std::to_string(*prefix_) : "") + "}}";
  }
  static std::uint32_t weight(double share) {
    constexpr double kWhole = 1e6;
    return share <= 0 ? 0 : std::max(1U, static_cast<std::uint32_t>(std::lround(share * kWhole)));
  }

  const rules::RuledService service_;
  const std::string name_;
  const LoadedRules& loaded_;
  const rules::Meaning& meaning_;
  const std::string& node_;
  ImportedRules& result_;
  std::optional<std::string> protocol_;
  bool pods_known_ = false;
  const RuledFrontend* cluster_ = nullptr;
  const RuledFrontend* node_port_ = nullptr;
  std::optional<View> inside_, outside_;  // the clusterIP's, the nodePort's
  bool even_ = true, round_robin_ = false, viewed_ = false;
  std::optional<std::uint32_t> seconds_;
  std::optional<unsigned> prefix_;
};

/// As comments have it, or after what it listens on; each once.
std::string name_of(const rules::RuledService& service, std::set<std::string>& taken) {
  std::string name = service.name;
  if (name.empty()) {
    const Frontend& at = service.frontends.front().at;
    name = "imported/" + (at.address ? at.address->to_string() : "node");
    std::replace(name.begin(), name.end(), ':', '-');
    name += ":port-" + std::to_string(at.port.value_or(0));
  }
  const std::string wanted = name;
  for (int i = 2; !taken.insert(name).second; ++i) name = wanted + "-" + std::to_string(i);
  return name;
}

}  // namespace

ImportedRules import_services(const LoadedRules& loaded, const rules::Meaning& meaning, const std::string& node) {
  ImportedRules result;
  std::set<std::string> names, pods;
  std::vector<ServiceImporter> importers;
  importers.reserve(meaning.services.size());
  for (const rules::RuledService& service : meaning.services) {
    importers.emplace_back(service, name_of(service, names), loaded, meaning, node, result).prepare(pods);
  }
  for (ServiceImporter& importer : importers) importer.run(!pods.empty());
  std::string networks;
  for (const std::string& network : pods) {
    if (!net::Prefix::parse(network)) {
      result.notes.push_back("node.podCIDRs: " + network + " is no prefix: left out");
      continue;
    }
    networks += (networks.empty() ? "" : ", ") + scalar(network);
  }
  const std::string services = result.yaml.empty() ? "services: []\n" : "services:\n" + result.yaml;
  result.yaml =
      "node:\n  name: " + node + "\n" + (networks.empty() ? "" : "  podCIDRs: [" + networks + "]\n") + services;
  if (!meaning.apart.empty()) {
    const bool one = meaning.apart.size() == 1;
    result.notes.push_back(std::to_string(meaning.apart.size()) + (one ? " rule takes" : " rules take") +
                           " no part in a service: not imported; `limpet rules explain` lists them");
  }
  return result;
}

}  // namespace limpet::cli
