// config_kube_proxy.h: kube-proxy's own configuration, in limpet's terms: KubeProxyConfiguration files (YAML or JSON,
// kubeproxy.config.k8s.io/v1alpha1) and command line flags.
//
//   defaults()        what a KubeProxyConfiguration means where it says nothing, and it matters here: localhostNodePorts,
//      │              healthzBindAddress 0.0.0.0:10256, conntrack's timeouts. Flags alone mean no such thing
//   limpet.yaml
//      ▼
//   apply()           what the file states, or the flags, where they say something else: in place of limpet.yaml's words
//
// A value that is null, or an empty text, list or mapping, is not stated: tools write them for "the default". Keys are
//   translated        clusterCIDR, detectLocalMode, detectLocal, mode, iptables and nftables {masqueradeAll, masqueradeBit},
//                     localhostNodePorts, nodePortAddresses, hostnameOverride, bindAddress (it only tells the node's
//                     address), healthzBindAddress, conntrack's timeouts
//   without meaning   syncPeriod, oomScoreAdj, logging, …: a warning that says why, if they are more than zero
//   refused           what would happen otherwise than asked for: modes of Windows, an ipvs.scheduler but rr, --cleanup
// Unknown keys are errors, as everywhere.
//
// A diagnostic of a file has its place; one of a flag has the flag's name in place of a file's.
//
// Source: k8s.io/kube-proxy/config/v1alpha1 and cmd/kube-proxy/app/options.go, v1.34.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lb/service/config.h"
#include "lb/service/config_fields.h"
#include "lb/service/diagnostic.h"

namespace limpet::service {

/// A flag of kube-proxy: how a command line knows it.
struct KubeProxyFlag {
  std::string_view name;   // without the dashes
  bool is_switch = false;  // alone it means "true"
  bool is_list = false;    // elements parted by commas; given twice, they add up
};

/// What a KubeProxyConfiguration states, translated.
struct KubeProxyStated {
  enum class Mode : std::uint8_t { iptables, nftables, ipvs };
  struct OfMode {
    std::optional<bool> masquerade_all;
    std::optional<std::uint32_t> masquerade_bit;
  };
  struct NodePorts {
    bool primary_only = false;
    std::vector<net::Prefix> addresses;
  };
  using Timeout = std::pair<flow::Seconds flow::Timeouts::*, flow::Seconds>;  // 0 s: as it is

  std::string host_name;
  std::optional<net::Address> node_ip;
  std::optional<net::AddressPort> healthz;
  bool no_healthz = false;
  std::optional<Mode> mode;
  Diagnostic mode_at;  // its place
  std::string scheduler;
  std::optional<LocalDetector::Mode> detector;
  Diagnostic detector_at;
  std::string bridge_interface;
  std::string interface_name_prefix;
  std::vector<net::Prefix> cluster_cidrs;
  OfMode iptables;
  OfMode nftables;
  std::optional<bool> localhost_node_ports;
  std::optional<NodePorts> node_ports;
  std::vector<Timeout> timeouts;
};

class KubeProxyConfig {
 public:
  static std::span<const KubeProxyFlag> flags();
  /// Is this text a KubeProxyConfiguration, whatever else may be wrong with it?
  static bool recognises(const std::string& text);

  void read_file(const std::string& text, const std::string& file);
  /// After the file. `name`: one of flags().
  void read_flag(std::string_view name, const std::string& value);

  bool has_file() const noexcept { return has_file_; }
  void defaults(Config& config) const;
  /// After limpet.yaml's node and settings, before its services.
  void apply(Config& config);
  std::vector<Diagnostic> take_diagnostics() { return std::move(diagnostics_); }

 private:
  void read(const YAML::Node& mapping, const std::string& file);
  void apply_detector(NodeConfig& node);
  void apply_mode(Config& config);
  bool states(flow::Seconds flow::Timeouts::*timeout) const;
  void complain(const Diagnostic& at, Severity severity, std::string message);

  bool has_file_ = false;
  KubeProxyStated stated_;
  std::vector<Diagnostic> diagnostics_;
};

/// Reads every key of a KubeProxyConfiguration (config_kube_proxy_keys.cpp).
void read_kube_proxy_keys(Fields& top, KubeProxyStated& out);
/// A number, time or switch that is nothing; a list or mapping of such.
bool is_zero(const YAML::Node& node, int depth = 0);

}  // namespace limpet::service
