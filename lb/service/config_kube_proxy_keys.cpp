#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "lb/service/config_kube_proxy.h"

namespace limpet::service {
namespace {

using Stated = KubeProxyStated;
using Mode = Stated::Mode;
using Detector = LocalDetector::Mode;

/// As Go writes it: 24h0m0s, 1.5h, 90s, 0. Parts of a second count as one.
struct GoDuration {
  using value_type = flow::Seconds;
  std::optional<value_type> parse(std::string_view text) const;
  std::string expected() const { return "a time of at most a year, as in 24h, 1m30s or 0"; }
};

std::optional<flow::Seconds> GoDuration::parse(std::string_view text) const {
  constexpr double kMost = 365.0 * 86400;
  static constexpr std::pair<std::string_view, double> kUnits[] = {
      {"ns", 1e-9}, {"us", 1e-6}, {"µs", 1e-6}, {"ms", 1e-3}, {"s", 1}, {"m", 60}, {"h", 3600}};
  if (text == "0") return flow::Seconds{0};
  double seconds = 0;
  if (text.empty()) return std::nullopt;
  while (!text.empty()) {
    double number = 0;
    const auto read = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (read.ec != std::errc{} || number < 0) return std::nullopt;
    text.remove_prefix(static_cast<std::size_t>(read.ptr - text.data()));
    const auto unit = std::find_if(std::begin(kUnits), std::end(kUnits),
                                   [&](const auto& each) { return text.starts_with(each.first); });
    if (unit == std::end(kUnits)) return std::nullopt;
    text.remove_prefix(unit->first.size());
    seconds += number * unit->second;
  }
  if (!(seconds <= kMost)) return std::nullopt;
  constexpr double kRounding = 1e-6;  // of a sum of decimal fractions
  return flow::Seconds{static_cast<flow::Seconds::rep>(std::ceil(seconds - kRounding))};
}

/// Host bits are allowed, and mean nothing.
struct LooseCidr {
  using value_type = net::Prefix;
  std::optional<value_type> parse(std::string_view text) const {
    return text.find('/') == std::string_view::npos ? std::nullopt : net::Prefix::parse(text);
  }
  std::string expected() const { return "a CIDR, as in 10.28.0.0/14 or fd00::/64"; }
};

/// One of each family, with a comma between them.
struct CidrPair {
  using value_type = std::vector<net::Prefix>;
  std::optional<value_type> parse(std::string_view text) const {
    value_type result;
    while (true) {
      const std::size_t comma = text.find(',');
      const auto cidr = LooseCidr{}.parse(text.substr(0, comma));
      if (!cidr) return std::nullopt;
      result.push_back(*cidr);
      if (comma == std::string_view::npos) return result;
      text.remove_prefix(comma + 1);
    }
  }
  std::string expected() const { return "a CIDR, or one of each family, as in 10.28.0.0/14,fd00::/64"; }
};

/// Address and port; the port may be left out.
struct HealthzAddress {
  using value_type = net::AddressPort;
  std::optional<value_type> parse(std::string_view text) const {
    constexpr std::uint16_t kPort = 10256;
    if (const auto address = net::Address::parse(text)) return net::AddressPort{*address, kPort};
    return format::AddressPort{}.parse(text);
  }
  std::string expected() const { return format::AddressPort{}.expected(); }
};

std::string host_name_of(std::string text) {
  const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), space));
  text.erase(std::find_if_not(text.rbegin(), text.rend(), space).base(), text.end());
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

void without_meaning(Fields& fields, std::string_view key, std::string_view why) {
  const YAML::Node value = fields.find(key);
  if (!value.IsDefined() || is_zero(value)) return;
  fields.warning(key, std::string(key) + " has no effect in limpet: " + std::string(why));
}

void read_node_ports(Fields& top, Stated& out) {
  constexpr std::string_view kKey = "nodePortAddresses";
  const YAML::Node list = top.find(kKey);
  if (!list.IsDefined() || !top.expect_list(list, kKey)) return;
  Stated::NodePorts ports;
  bool all = false;
  for (const YAML::Node& each : list) {
    if (each.IsScalar() && each.Scalar() == "primary") {
      ports.primary_only = true;
    } else if (each.IsScalar() && each.Scalar() == "all") {
      all = true;
    } else if (const auto cidr = top.parse(each, kKey, LooseCidr{})) {
      ports.addresses.push_back(*cidr);
    }
  }
  if (list.size() > 1 && (all || ports.primary_only)) {
    top.error(kKey, "nodePortAddresses: a word stands alone, without CIDRs; write primary, all, or CIDRs");
  }
  out.node_ports = std::move(ports);
}

void read_who_we_are(Fields& top, Stated& out) {
  std::string name;
  if (top.read("hostnameOverride", format::Text{"the node's name in Kubernetes"}, name)) {
    out.host_name = host_name_of(std::move(name));
  }
  net::Address bound;
  if (top.read("bindAddress", format::Address{}, bound) && !bound.is_unspecified()) {
    out.node_ip = format::UnicastAddress{}.parse(bound.to_string());
    if (!out.node_ip) {
      top.error("bindAddress", "bindAddress: cannot use '" + bound.to_string() + "' as the node's address; write " +
                                   format::UnicastAddress{}.expected());
    }
  }
  const YAML::Node healthz = top.find("healthzBindAddress");
  const bool off = healthz.IsDefined() && healthz.IsScalar() && healthz.Scalar().empty();
  if (healthz.IsDefined()) out.no_healthz = off;
  if (!off) top.read("healthzBindAddress", HealthzAddress{}, out.healthz);
}

Diagnostic place_of(Fields& fields, std::string_view key) {
  const YAML::Mark at = fields.place(key);
  return {.file = fields.report().file(),
          .line = at.is_null() ? 0 : at.line + 1,
          .column = at.is_null() ? 0 : at.column + 1,
          .message = {}};
}

void read_detector(Fields& top, Stated& out) {
  const format::Choice<Detector> modes{{"ClusterCIDR", Detector::cluster_cidr},
                                       {"NodeCIDR", Detector::node_cidr},
                                       {"BridgeInterface", Detector::bridge_interface},
                                       {"InterfaceNamePrefix", Detector::interface_name_prefix}};
  if (top.read("detectLocalMode", modes, out.detector)) out.detector_at = place_of(top, "detectLocalMode");
  const format::Text name{"the name of an interface, as in cbr0"};
  top.section("detectLocal", [&](Fields& detector) {
    detector.read("bridgeInterface", name, out.bridge_interface);
    detector.read("interfaceNamePrefix", name, out.interface_name_prefix);
  });
  top.read("clusterCIDR", CidrPair{}, out.cluster_cidrs);
}

constexpr std::string_view kAtOnce = "changes are followed as they come";
constexpr std::string_view kNoIpvs = "it belongs to ipvs";

void read_of_mode(Fields& section, Stated::OfMode& out) {
  constexpr format::Number kBits{0, 31};
  section.read("masqueradeAll", format::Flag{}, out.masquerade_all);
  section.read("masqueradeBit", kBits, out.masquerade_bit);
  without_meaning(section, "syncPeriod", kAtOnce);
  without_meaning(section, "minSyncPeriod", kAtOnce);
}

void read_modes(Fields& top, Stated& out) {
  const format::Choice<Mode> modes{{"iptables", Mode::iptables}, {"nftables", Mode::nftables}, {"ipvs", Mode::ipvs}};
  if (top.read("mode", modes, out.mode)) out.mode_at = place_of(top, "mode");
  top.section("iptables", [&](Fields& iptables) {
    read_of_mode(iptables, out.iptables);
    iptables.read("localhostNodePorts", format::Flag{}, out.localhost_node_ports);
  });
  top.section("nftables", [&](Fields& nftables) { read_of_mode(nftables, out.nftables); });
  top.section("ipvs", [&](Fields& ipvs) {
    ipvs.read("scheduler", format::Text{"the name of a scheduler, as in rr"}, out.scheduler);
    for (const auto key : {"syncPeriod", "minSyncPeriod"}) without_meaning(ipvs, key, kAtOnce);
    for (const auto key : {"excludeCIDRs", "strictARP", "tcpTimeout", "tcpFinTimeout", "udpTimeout"}) {
      without_meaning(ipvs, key, kNoIpvs);
    }
  });
  without_meaning(top, "winkernel", "it belongs to Windows");
  without_meaning(top, "windowsRunAsService", "it belongs to Windows");
}

void read_conntrack(Fields& top, Stated& out) {
  constexpr std::string_view kOwnTable =
      "limpet keeps flows in a table of its own; its size is limpet.yaml's tables.flows";
  top.section("conntrack", [&](Fields& conntrack) {
    const auto timeout = [&](std::string_view key, flow::Seconds flow::Timeouts::*member) {
      flow::Seconds time{};
      if (!conntrack.read(key, GoDuration{}, time)) return;
      std::erase_if(out.timeouts, [&](const auto& each) { return each.first == member; });
      out.timeouts.emplace_back(member, time);
    };
    timeout("tcpEstablishedTimeout", &flow::Timeouts::tcp_established);
    timeout("tcpCloseWaitTimeout", &flow::Timeouts::tcp_close_wait);
    timeout("udpTimeout", &flow::Timeouts::udp);
    timeout("udpStreamTimeout", &flow::Timeouts::udp_stream);
    without_meaning(conntrack, "maxPerCore", kOwnTable);
    without_meaning(conntrack, "min", kOwnTable);
    without_meaning(conntrack, "tcpBeLiberal", "limpet asks for no window, it always is");
  });
}

void read_meaningless(Fields& top) {
  without_meaning(top, "metricsBindAddress", "there is no metrics port; see `limpet show stats`");
  without_meaning(top, "bindAddressHardFail", "a port that cannot be had is logged, and tried again");
  without_meaning(top, "enableProfiling", "there is no profile to ask for");
  without_meaning(top, "showHiddenMetricsForVersion", "there are no hidden metrics");
  without_meaning(
      top, "clientConnection",
      "limpet reads objects from files, not from an API server: name them in limpet.yaml's kubernetes.files");
  without_meaning(top, "logging", "see --log-level");
  without_meaning(top, "featureGates", "limpet has none of these");
  without_meaning(top, "oomScoreAdj", "let the service manager set it");
  without_meaning(top, "configSyncPeriod", kAtOnce);
  without_meaning(top, "portRange", "nothing listens for services");
}

}  // namespace

bool is_zero(const YAML::Node& node, int depth) {
  constexpr int kDeepest = 4;  // of what Kubernetes writes; an alias may lead anywhere
  if (depth > kDeepest) return false;
  if (!node.IsDefined() || node.IsNull()) return true;
  if (node.IsScalar()) {
    const std::string& text = node.Scalar();
    return text.empty() || text == "false" || (text[0] == '0' && text.find_first_of("123456789") == std::string::npos);
  }
  if (node.IsSequence())
    return std::all_of(node.begin(), node.end(), [&](const auto& each) { return is_zero(each, depth + 1); });
  return std::all_of(node.begin(), node.end(), [&](const auto& each) { return is_zero(each.second, depth + 1); });
}

void read_kube_proxy_keys(Fields& top, Stated& out) {
  bool known = false;
  top.read("apiVersion", format::Choice<bool>{{"kubeproxy.config.k8s.io/v1alpha1", true}}, known);
  top.read("kind", format::Choice<bool>{{"KubeProxyConfiguration", true}}, known);
  read_who_we_are(top, out);
  read_detector(top, out);
  read_modes(top, out);
  read_node_ports(top, out);
  read_conntrack(top, out);
  read_meaningless(top);
  top.finish();
}

}  // namespace limpet::service
