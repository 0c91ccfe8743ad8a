#include "lb/service/config_kube_proxy.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <sstream>

#include <yaml-cpp/yaml.h>

namespace limpet::service {
namespace {

using Mode = KubeProxyStated::Mode;
using Detector = LocalDetector::Mode;

/// What becomes of a flag.
enum class Use {
  key,      // a value of the configuration: `words` is its path; of two paths, both
  ignored,  // `words` say why
  refused,  // likewise
};
struct FlagUse {
  KubeProxyFlag flag;
  Use use;
  std::string_view words;
};

constexpr std::string_view kLogging = "see --log-level";
constexpr std::string_view kNoServer = "limpet reads objects from files, not from an API server";

constexpr auto kFlags = std::to_array<FlagUse>({
    {{"bind-address"}, Use::key, "bindAddress"},
    {{"bind-address-hard-fail", true}, Use::key, "bindAddressHardFail"},
    {{"cleanup", true}, Use::refused, "write `limpet divert cleanup`"},
    {{"cluster-cidr"}, Use::key, "clusterCIDR"},
    {{"config-sync-period"}, Use::key, "configSyncPeriod"},
    {{"conntrack-max-per-core"}, Use::key, "conntrack.maxPerCore"},
    {{"conntrack-min"}, Use::key, "conntrack.min"},
    {{"conntrack-tcp-be-liberal", true}, Use::key, "conntrack.tcpBeLiberal"},
    {{"conntrack-tcp-timeout-close-wait"}, Use::key, "conntrack.tcpCloseWaitTimeout"},
    {{"conntrack-tcp-timeout-established"}, Use::key, "conntrack.tcpEstablishedTimeout"},
    {{"conntrack-udp-timeout"}, Use::key, "conntrack.udpTimeout"},
    {{"conntrack-udp-timeout-stream"}, Use::key, "conntrack.udpStreamTimeout"},
    {{"detect-local-mode"}, Use::key, "detectLocalMode"},
    {{"feature-gates"}, Use::key, "featureGates"},
    {{"healthz-bind-address"}, Use::key, "healthzBindAddress"},
    {{"hostname-override"}, Use::key, "hostnameOverride"},
    {{"init-only", true}, Use::refused, "limpet has nothing to prepare; start it with the privileges that it needs"},
    {{"iptables-localhost-nodeports", true}, Use::key, "iptables.localhostNodePorts"},
    {{"iptables-masquerade-bit"}, Use::key, "iptables.masqueradeBit"},
    {{"iptables-min-sync-period"}, Use::key, "iptables.minSyncPeriod"},
    {{"iptables-sync-period"}, Use::key, "iptables.syncPeriod"},
    {{"ipvs-exclude-cidrs", false, true}, Use::key, "ipvs.excludeCIDRs"},
    {{"ipvs-min-sync-period"}, Use::key, "ipvs.minSyncPeriod"},
    {{"ipvs-scheduler"}, Use::key, "ipvs.scheduler"},
    {{"ipvs-strict-arp", true}, Use::key, "ipvs.strictARP"},
    {{"ipvs-sync-period"}, Use::key, "ipvs.syncPeriod"},
    {{"ipvs-tcp-timeout"}, Use::key, "ipvs.tcpTimeout"},
    {{"ipvs-tcpfin-timeout"}, Use::key, "ipvs.tcpFinTimeout"},
    {{"ipvs-udp-timeout"}, Use::key, "ipvs.udpTimeout"},
    {{"kube-api-burst"}, Use::ignored, kNoServer},
    {{"kube-api-content-type"}, Use::ignored, kNoServer},
    {{"kube-api-qps"}, Use::ignored, kNoServer},
    {{"kubeconfig"}, Use::key, "clientConnection.kubeconfig"},
    {{"log-flush-frequency"}, Use::ignored, kLogging},
    {{"log_file"}, Use::ignored, kLogging},
    {{"logging-format"}, Use::ignored, kLogging},
    {{"logtostderr", true}, Use::ignored, "limpet always logs there"},
    {{"alsologtostderr", true}, Use::ignored, "limpet always logs there"},
    {{"masquerade-all", true}, Use::key, "iptables.masqueradeAll nftables.masqueradeAll"},
    {{"master"}, Use::ignored, kNoServer},
    {{"metrics-bind-address"}, Use::key, "metricsBindAddress"},
    {{"nodeport-addresses", false, true}, Use::key, "nodePortAddresses"},
    {{"oom-score-adj"}, Use::key, "oomScoreAdj"},
    {{"pod-bridge-interface"}, Use::key, "detectLocal.bridgeInterface"},
    {{"pod-interface-name-prefix"}, Use::key, "detectLocal.interfaceNamePrefix"},
    {{"profiling", true}, Use::key, "enableProfiling"},
    {{"proxy-mode"}, Use::key, "mode"},
    {{"proxy-port-range"}, Use::key, "portRange"},
    {{"show-hidden-metrics-for-version"}, Use::key, "showHiddenMetricsForVersion"},
    {{"v"}, Use::ignored, kLogging},
    {{"vmodule"}, Use::ignored, kLogging},
    {{"write-config-to"}, Use::refused, "limpet's configuration is written by hand; see `limpet check`"},
});

constexpr auto kNames = [] {
  std::array<KubeProxyFlag, kFlags.size()> names{};
  std::transform(kFlags.begin(), kFlags.end(), names.begin(), [](const FlagUse& use) { return use.flag; });
  return names;
}();

/// As pflag reads a switch.
std::string switch_value(const std::string& text) {
  for (const std::string_view yes : {"1", "t", "T", "TRUE", "True"}) {
    if (text == yes) return "true";
  }
  for (const std::string_view no : {"0", "f", "F", "FALSE", "False"}) {
    if (text == no) return "false";
  }
  return text;
}

YAML::Node list_of(const std::string& text) {
  YAML::Node list(YAML::NodeType::Sequence);
  std::istringstream elements(text);
  for (std::string each; std::getline(elements, each, ',');) list.push_back(each);
  return list;
}

/// Takes out what is null or empty: it is not stated.
void keep_stated(YAML::Node mapping, int depth = 0) {
  constexpr int kDeepest = 3;  // a setting stands no deeper; an alias may lead anywhere
  std::vector<YAML::Node> unstated;
  for (const auto& pair : mapping) {
    const YAML::Node& value = pair.second;
    if (value.IsMap() && depth < kDeepest) keep_stated(value, depth + 1);
    const bool empty = value.IsScalar() ? value.Scalar().empty() : value.IsNull() || value.size() == 0;
    if (empty) unstated.push_back(pair.first);
  }
  for (const YAML::Node& key : unstated) mapping.remove(key);
}

}  // namespace

std::span<const KubeProxyFlag> KubeProxyConfig::flags() {
  return kNames;
}

bool KubeProxyConfig::recognises(const std::string& text) {
  try {
    const YAML::Node document = YAML::Load(text);
    if (!document.IsMap()) return false;
    const YAML::Node version = document["apiVersion"];
    const YAML::Node kind = document["kind"];
    return (version.IsDefined() && version.IsScalar() && version.Scalar().starts_with("kubeproxy.config.k8s.io/")) ||
           (kind.IsDefined() && kind.IsScalar() && kind.Scalar() == "KubeProxyConfiguration");
  } catch (const YAML::Exception&) {
    return false;  // whoever reads it will say so
  }
}

void KubeProxyConfig::read_file(const std::string& text, const std::string& file) {
  has_file_ = true;
  YAML::Node document = YAML::Load(text);  // recognises() has done it, too
  keep_stated(document);
  read(document, file);
}

void KubeProxyConfig::read_flag(std::string_view name, const std::string& value) {
  const auto found =
      std::find_if(kFlags.begin(), kFlags.end(), [&](const auto& each) { return each.flag.name == name; });
  const std::string flag = "--" + std::string(name);
  const std::string text = found->flag.is_switch ? switch_value(value) : value;
  if (found->use == Use::refused || found->use == Use::ignored) {
    if (is_zero(YAML::Node(text))) return;
    const bool refused = found->use == Use::refused;
    const std::string what = refused ? "is not limpet's: " : "has no effect in limpet: ";
    complain({.file = flag, .message = {}}, refused ? Severity::error : Severity::warning,
             what + std::string(found->words));
    return;
  }
  std::istringstream paths{std::string(found->words)};
  for (std::string path; paths >> path;) {
    YAML::Node node = found->flag.is_list ? list_of(text) : YAML::Node(text);
    for (std::size_t dot = path.rfind('.'); !path.empty(); dot = path.rfind('.')) {
      YAML::Node parent(YAML::NodeType::Map);
      parent[dot == std::string::npos ? path : path.substr(dot + 1)] = node;
      node = parent;
      path.resize(dot == std::string::npos ? 0 : dot);
    }
    read(node, flag);
  }
}

void KubeProxyConfig::read(const YAML::Node& mapping, const std::string& file) {
  Report report(file);
  Fields top(mapping, "the KubeProxyConfiguration", report);
  if (mapping.IsMap()) read_kube_proxy_keys(top, stated_);
  std::vector<Diagnostic> found = report.take();
  std::move(found.begin(), found.end(), std::back_inserter(diagnostics_));
}

void KubeProxyConfig::complain(const Diagnostic& at, Severity severity, std::string message) {
  diagnostics_.push_back({at.file, at.line, at.column, severity, std::move(message)});
}

bool KubeProxyConfig::states(flow::Seconds flow::Timeouts::*timeout) const {
  const auto& all = stated_.timeouts;
  return std::any_of(all.begin(), all.end(), [&](const auto& each) { return each.first == timeout; });
}

// ------------------------------------------------------------------------------------------------------- what it changes

void KubeProxyConfig::defaults(Config& config) const {
  if (stated_.mode == Mode::nftables) config.node.compat = Compat::nftables;
  if (!has_file_) return;
  config.node.localhost_node_ports = stated_.mode != Mode::nftables;
  config.healthz = net::AddressPort{net::Address(), 10256};
  constexpr flow::Seconds kEstablished{24 * 3600};
  constexpr flow::Seconds kCloseWait{3600};
  if (!states(&flow::Timeouts::tcp_established)) config.timeouts.tcp_established = kEstablished;
  if (!states(&flow::Timeouts::tcp_close_wait)) config.timeouts.tcp_close_wait = kCloseWait;
}

void KubeProxyConfig::apply(Config& config) {
  NodeConfig& node = config.node;
  apply_mode(config);
  if (!stated_.host_name.empty()) node.name = stated_.host_name;
  if (stated_.node_ip) node.node_ip = stated_.node_ip;
  if (stated_.healthz) config.healthz = stated_.healthz;
  if (stated_.no_healthz) config.healthz.reset();
  if (stated_.mode == Mode::nftables && node.node_port_addresses.empty()) node.node_port_primary_only = true;
  if (stated_.node_ports) {
    node.node_port_primary_only = stated_.node_ports->primary_only;
    node.node_port_addresses = stated_.node_ports->addresses;
  }
  if (stated_.localhost_node_ports) node.localhost_node_ports = *stated_.localhost_node_ports;
  for (const auto& [timeout, seconds] : stated_.timeouts) {
    if (seconds > flow::Seconds::zero()) config.timeouts.*timeout = seconds;
  }
  apply_detector(node);
}

void KubeProxyConfig::apply_mode(Config& config) {
  const Compat compat = stated_.mode == Mode::nftables ? Compat::nftables : Compat::iptables;
  if (stated_.mode && compat != config.node.compat) {
    complain(stated_.mode_at, Severity::error,
             "mode and limpet.yaml's node.compat name two different ones; remove node.compat");
  }
  if (stated_.mode == Mode::ipvs) {
    complain(stated_.mode_at, Severity::warning, "mode: limpet decides as kube-proxy does in mode iptables, not ipvs");
    if (!stated_.scheduler.empty() && stated_.scheduler != "rr") {
      complain(stated_.mode_at, Severity::error,
               "ipvs.scheduler is '" + stated_.scheduler +
                   "', and limpet picks at random; write rr, or choose another mode");
    }
  }
  const auto& of_mode = config.node.compat == Compat::nftables ? stated_.nftables : stated_.iptables;
  if (of_mode.masquerade_all) config.node.masquerade_all = *of_mode.masquerade_all;
  if (of_mode.masquerade_bit) config.mark_mask = 1U << *of_mode.masquerade_bit;
}

void KubeProxyConfig::apply_detector(NodeConfig& node) {
  LocalDetector& out = node.detect_local;
  const bool by_node = stated_.detector == Detector::node_cidr;
  if (stated_.detector) {
    out.mode = *stated_.detector;
  } else if (!stated_.cluster_cidrs.empty()) {
    out.mode = Detector::cluster_cidr;
  }
  if (!stated_.cluster_cidrs.empty() && !by_node) node.pod_cidrs = stated_.cluster_cidrs;
  const auto needs = [&](const std::string& value, std::string_view key) {
    if (!value.empty()) out.interface = value;
    if (stated_.detector && out.interface.empty()) {
      complain(stated_.detector_at, Severity::error, "detectLocalMode needs " + std::string(key) + "; write it");
    }
  };
  if (out.mode == Detector::bridge_interface) needs(stated_.bridge_interface, "detectLocal.bridgeInterface");
  if (out.mode == Detector::interface_name_prefix) {
    needs(stated_.interface_name_prefix, "detectLocal.interfaceNamePrefix");
  }
  if (out.mode != Detector::cluster_cidr && out.mode != Detector::node_cidr) return;
  out.cidrs = node.pod_cidrs;
  if (!out.cidrs.empty()) return;
  out.mode = Detector::none;
  if (by_node) {
    complain(stated_.detector_at, Severity::error,
             "detectLocalMode NodeCIDR: only an API server knows the node's podCIDRs; write them in limpet.yaml as "
             "node.podCIDRs");
  } else if (stated_.detector) {
    complain(stated_.detector_at, Severity::warning,
             "detectLocalMode ClusterCIDR: there is no clusterCIDR: no source counts as a pod");
  }
}

}  // namespace limpet::service
