// config.h: the whole of limpet.yaml, as values. Read and validated by config_reader.h; every default stands here.
//
// Key names, units and defaults are those of the README's configuration section. A Config that exists is valid: the
// reader hands it out only without errors. Files that it names are named as seen from the configuration's folder, and
// stand here as seen from the process.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conntrack/flow/instant.h"
#include "conntrack/flow/timeouts.h"
#include "conntrack/net/address.h"
#include "lb/datapath/pipeline.h"
#include "lb/service/identities.h"
#include "lb/service/service.h"

namespace limpet::service {

class KubernetesFiles;

struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;  // inclusive
  friend auto operator<=>(const PortRange&, const PortRange&) noexcept = default;
};

/// How a pod of this cluster is recognised (kube-proxy --detect-local-mode).
struct LocalDetector {
  enum class Mode { none, cluster_cidr, node_cidr, bridge_interface, interface_name_prefix };
  Mode mode = Mode::none;
  std::vector<net::Prefix> cidrs;  // cluster_cidr, node_cidr
  std::string interface;           // bridge_interface: the name; interface_name_prefix: the prefix
};

/// Which of kube-proxy's modes to follow where the two differ.
enum class Compat { iptables, nftables };

struct NodeConfig {
  std::string name;                     // default: the host name
  std::optional<net::Address> node_ip;  // default: the default route's source
  std::vector<net::Address> addresses;  // empty: the machine's, followed live
  std::string zone;
  std::vector<net::Prefix> pod_cidrs;
  LocalDetector detect_local;
  bool masquerade_all = false;
  bool node_port_primary_only = false;           // nodePortAddresses: primary
  std::vector<net::Prefix> node_port_addresses;  // empty: every address
  bool localhost_node_ports = false;
  Compat compat = Compat::iptables;
  std::vector<net::Prefix> service_cidrs;  // clusterIPs are taken from these; only Compat::nftables asks
};

enum class RuleBackend { automatic, iptables /* either variant */, iptables_nft, iptables_legacy, nft };
using Midstream = datapath::MidstreamPolicy;
enum class RejectWith { icmp, tcp_reset };
enum class OnDeath { hold, bypass };
enum class OnStop { keep, remove };
enum class Defragment { automatic, never };  // by the kernel, where conntrack does not do it anyway
enum class IcmpEcho { ignore, reply };       // echo requests to a clusterIP

inline constexpr std::array<PortRange, 2> kMasqueradePorts{{{1024, 29999}, {61000, 65535}}};

/// An iptables program that decides what becomes of connections to no declared service, and how it runs.
struct RulesConfig {
  std::string file;                   // what iptables-save printed; empty: there is no program
  std::string ipsets;                 // what `ipset save` printed, for rules that look into sets; empty: no sets
  bool lenient = false;               // leave out rules that cannot be honoured, instead of refusing the program
  bool compiled = true;               // lb/rules/plan.h; false: walk rule by rule, as the kernel does
  std::uint32_t hz = 0;               // ticks a second of `recent`; 0: as many as the kernel's
  std::uint32_t ip_list_tot = 100;    // clients that a list of `recent` remembers; 0: all
  std::uint32_t ip_pkt_list_tot = 0;  // times that it remembers of each, at least
  std::uint32_t recent_mib = 1024;    // memory of all lists of `recent` together
  bool nth_persists = false;          // nthOnReload: persist
};

struct Config {
  NodeConfig node;
  struct {
    std::uint16_t first = 0;
    std::uint16_t count = 2;
    std::uint32_t max_length = 8192;
    std::uint32_t batch = 64;
  } queues;
  std::uint32_t mark_mask = 0x00001000;
  RuleBackend backend = RuleBackend::automatic;
  bool divert_direct = false;
  std::chrono::seconds divert_check{10};  // between two looks at the rules for another hand's doing; 0: never
  Defragment defragment = Defragment::automatic;
  std::vector<PortRange> masquerade_ports;  // empty: kMasqueradePorts, less the node's ip_local_port_range
  Midstream midstream = Midstream::affinity;
  RejectWith reject_with = RejectWith::icmp;
  IcmpEcho icmp_echo = IcmpEcho::ignore;
  struct {
    std::uint32_t per_second = 1000;  // 0: nothing is answered
    std::uint32_t burst = 200;
  } replies;  // limpet's own answers of all kinds, over all workers
  OnDeath on_death = OnDeath::hold;
  OnStop on_stop = OnStop::keep;
  struct {
    std::uint32_t flows = 1'000'000;
    std::uint32_t affinity = 1'000'000;
    std::uint32_t affinity_ipv6 = 1'000'000;  // default: as many as affinity
    std::uint32_t fragments = 4096;
    std::uint32_t endpoints = IdentityLimits{}.endpoints;
    std::uint32_t scopes = IdentityLimits{}.scopes;
  } tables;
  std::string state_path = "auto";          // auto | none | the file in which tables outlive the process
  std::string control_socket = "auto";      // auto | none | the path of the unix socket
  std::optional<net::AddressPort> healthz;  // where /healthz and /livez are answered; none: nowhere
  std::string instance;                     // names both; empty: after the network namespace
  flow::Timeouts timeouts;
  std::vector<Service> services;                // native ones; and once load_config() has read them, those of objects
  std::size_t native_services = 0;              // so many of them are native: the first; set by load_config()
  std::vector<std::string> kubernetes_files;    // of Kubernetes objects, as seen from the process; "-": standard input
  std::shared_ptr<KubernetesFiles> kubernetes;  // who has read them, and can again; null: there are none
  RulesConfig rules;
};

}  // namespace limpet::service
