// kube-proxy's words in, limpet's values out: what each key and flag becomes, who overrides whom, what is complained of.
#include "lb/service/config_kube_proxy.h"

#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lb/service/config_reader.h"
#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Flags = std::vector<std::pair<std::string, std::string>>;
using Texts = std::vector<std::string>;

const std::string kHead = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n";
/// No complaints of its own.
const std::string kLimpet = "services: [{name: a/b, clusterIP: 10.0.0.1, port: 80}]\n";

/// "key value", of what is not as without kube-proxy's configuration.
Texts changes(const Config& config) {
  Texts result;
  const NodeConfig& node = config.node;
  const auto add = [&](const std::string& key, const std::string& value, const std::string& usual) {
    if (value != usual) result.push_back(key + " " + value);
  };
  const auto list = [](const std::vector<net::Prefix>& prefixes) {
    std::string text;
    for (const net::Prefix& prefix : prefixes) text += (text.empty() ? "" : ",") + prefix.to_string();
    return text;
  };
  add("name", node.name, "host");
  add("nodeIP", node.node_ip ? node.node_ip->to_string() : "", "");
  add("podCIDRs", list(node.pod_cidrs), "");
  const char* const modes[] = {"None", "ClusterCIDR", "NodeCIDR", "BridgeInterface", "InterfaceNamePrefix"};
  add("detectLocal", modes[static_cast<int>(node.detect_local.mode)], "None");
  add("cidrs", list(node.detect_local.cidrs), "");
  add("interface", node.detect_local.interface, "");
  add("masqueradeAll", node.masquerade_all ? "true" : "false", "false");
  add("nodePorts", node.node_port_primary_only ? "primary" : list(node.node_port_addresses), "");
  add("localhostNodePorts", node.localhost_node_ports ? "true" : "false", "false");
  add("compat", node.compat == Compat::nftables ? "nftables" : "iptables", "iptables");
  add("mask", std::to_string(config.mark_mask), std::to_string(Config().mark_mask));
  add("healthz", config.healthz ? config.healthz->to_string() : "", "");
  for (const flow::Timeouts::Field& field : flow::Timeouts::fields()) {
    add(std::string(field.name), std::to_string((config.timeouts.*field.member).count()),
        std::to_string((flow::Timeouts().*field.member).count()));
  }
  return result;
}

struct Read {
  std::optional<Config> config;
  Texts diagnostics;
};

/// `file`: a KubeProxyConfiguration, empty: none.
Read read(const std::string& limpet, const std::string& file, const Flags& flags = {}) {
  KubeProxyConfig kube_proxy;
  if (!file.empty()) kube_proxy.read_file(file, "k");
  for (const auto& [name, value] : flags) kube_proxy.read_flag(name, value);
  LoadedConfig loaded = read_config(limpet, "l", "host", kube_proxy);
  Read result;
  for (const Diagnostic& each : loaded.diagnostics) result.diagnostics.push_back(to_string(each));
  const auto more = kube_proxy.take_diagnostics();
  for (const Diagnostic& each : more) result.diagnostics.push_back(to_string(each));
  if (!has_errors(more)) result.config = std::move(loaded.config);
  return result;
}

struct FlagCase {
  std::string name;
  std::string value;
  Texts expected;
};

TEST(KubeProxyConfig, Flags) {
  const FlagCase cases[] = {
      {"cluster-cidr", "10.28.0.0/14", {"podCIDRs 10.28.0.0/14", "detectLocal ClusterCIDR", "cidrs 10.28.0.0/14"}},
      {"cluster-cidr",
       "10.28.0.0/14,fd00::/48",
       {"podCIDRs 10.28.0.0/14,fd00::/48", "detectLocal ClusterCIDR", "cidrs 10.28.0.0/14,fd00::/48"}},
      {"cluster-cidr", "10.28.0.9/14", {"podCIDRs 10.28.0.0/14", "detectLocal ClusterCIDR", "cidrs 10.28.0.0/14"}},
      {"masquerade-all", "true", {"masqueradeAll true"}},
      {"masquerade-all", "T", {"masqueradeAll true"}},
      {"masquerade-all", "0", {}},
      {"iptables-masquerade-bit", "14", {"mask 16384"}},
      {"iptables-masquerade-bit", "0", {"mask 1"}},
      {"iptables-localhost-nodeports", "true", {"localhostNodePorts true"}},
      {"nodeport-addresses", "10.0.0.0/8,192.168.0.0/16", {"nodePorts 10.0.0.0/8,192.168.0.0/16"}},
      {"nodeport-addresses", "primary", {"nodePorts primary"}},
      {"nodeport-addresses", "all", {}},
      {"hostname-override", " Node-7 ", {"name node-7"}},
      {"bind-address", "10.1.2.3", {"nodeIP 10.1.2.3"}},
      {"bind-address", "::", {}},
      {"proxy-mode", "iptables", {}},
      {"proxy-mode", "nftables", {"nodePorts primary", "compat nftables"}},
      {"healthz-bind-address", "0.0.0.0:10256", {"healthz 0.0.0.0:10256"}},
      {"healthz-bind-address", "::1", {"healthz [::1]:10256"}},
      {"healthz-bind-address", "", {}},
      {"conntrack-tcp-timeout-established", "24h0m0s", {"tcp_established 86400"}},
      {"conntrack-tcp-timeout-close-wait", "1h30m", {"tcp_close_wait 5400"}},
      {"conntrack-udp-timeout", "1.5m", {"udp 90"}},
      {"conntrack-udp-timeout", "0", {}},
      {"conntrack-udp-timeout-stream", "200ms", {"udp_stream 1"}},
  };
  for (const FlagCase& tested : cases) {
    const Read found = read(kLimpet, "", {{tested.name, tested.value}});
    ASSERT_TRUE(found.config) << tested.name << "=" << tested.value << ": "
                              << testing::PrintToString(found.diagnostics);
    EXPECT_EQ(changes(*found.config), tested.expected) << tested.name << "=" << tested.value;
  }
}

TEST(KubeProxyConfig, DetectorsOfInterfaces) {
  const Read bridge = read(kLimpet, "", {{"detect-local-mode", "BridgeInterface"}, {"pod-bridge-interface", "cbr0"}});
  EXPECT_EQ(changes(*bridge.config), (Texts{"detectLocal BridgeInterface", "interface cbr0"}));
  const Read prefix =
      read(kLimpet, kHead + "detectLocalMode: InterfaceNamePrefix\ndetectLocal: {interfaceNamePrefix: veth}\n",
           {{"iptables-localhost-nodeports", "false"}, {"healthz-bind-address", ""}});
  EXPECT_THAT(changes(*prefix.config), Contains("detectLocal InterfaceNamePrefix"));
  EXPECT_THAT(changes(*prefix.config), Contains("interface veth"));
}

/// What a KubeProxyConfiguration means where it says nothing.
const Texts kDefaults = {"localhostNodePorts true", "healthz 0.0.0.0:10256", "tcp_established 86400",
                         "tcp_close_wait 3600"};

TEST(KubeProxyConfig, TheFileOfKubeadm) {
  // As kubeadm 1.34 writes it into its ConfigMap.
  const Read found = read(kLimpet, R"(apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
)");
  ASSERT_TRUE(found.config);
  Texts expected = {"podCIDRs 10.244.0.0/16", "detectLocal ClusterCIDR", "cidrs 10.244.0.0/16"};
  expected.insert(expected.end(), kDefaults.begin(), kDefaults.end());
  EXPECT_EQ(changes(*found.config), expected);
  EXPECT_THAT(
      found.diagnostics,
      ElementsAre("k:5:3: warning: clientConnection has no effect in limpet: limpet reads objects from files, not "
                  "from an API server: name them in limpet.yaml's kubernetes.files"));
}

struct OverrideCase {
  std::string name;
  std::string limpet;
  std::string file;
  Flags flags;
  Texts expected;  // without kDefaults, where the file is there
};

TEST(KubeProxyConfig, FlagsBeforeTheFileBeforeLimpetsBeforeDefaults) {
  const std::string none = kHead + "healthzBindAddress: 1.1.1.1\n";
  const OverrideCase cases[] = {
      {"defaults", kLimpet, kHead, {}, kDefaults},
      {"limpet's before defaults",
       kLimpet + "node: {localhostNodePorts: false}\nhealthz: 127.0.0.1:99\ntimeouts: {tcp_established: 7s, "
                 "tcp_close_wait: 8s}\n",
       kHead,
       {},
       {"healthz 127.0.0.1:99", "tcp_established 7", "tcp_close_wait 8"}},
      {"the file's before limpet's",
       kLimpet +
           "node: {localhostNodePorts: false, podCIDRs: [10.0.0.0/8]}\nhealthz: 127.0.0.1:99\ntimeouts: {udp: 7s}\n",
       kHead + "iptables: {localhostNodePorts: true}\nhealthzBindAddress: 127.0.0.1:98\nconntrack: {udpTimeout: 8s, "
               "tcpEstablishedTimeout: 0s}\nclusterCIDR: 10.28.0.0/14\n",
       {},
       {"podCIDRs 10.28.0.0/14", "detectLocal ClusterCIDR", "cidrs 10.28.0.0/14", "localhostNodePorts true",
        "healthz 127.0.0.1:98", "tcp_close_wait 3600", "udp 8"}},
      {"flags before the file's",
       kLimpet,
       kHead + "iptables: {localhostNodePorts: true, masqueradeAll: true}\nhealthzBindAddress: 127.0.0.1:98\n"
               "conntrack: {tcpEstablishedTimeout: 8s, tcpCloseWaitTimeout: 9s}\n",
       {{"iptables-localhost-nodeports", "false"},
        {"healthz-bind-address", ""},
        {"masquerade-all", "false"},
        {"conntrack-tcp-timeout-established", "5s"}},
       {"tcp_established 5", "tcp_close_wait 9"}},
      {"NodeCIDR asks for limpet's podCIDRs",
       kLimpet + "node: {podCIDRs: [10.28.8.0/24]}\n",
       "",
       {{"detect-local-mode", "NodeCIDR"}, {"cluster-cidr", "10.28.0.0/14"}},
       {"podCIDRs 10.28.8.0/24", "detectLocal NodeCIDR", "cidrs 10.28.8.0/24"}},
      {"each mode has its own section",
       kLimpet,
       kHead + "mode: nftables\niptables: {masqueradeBit: 3}\nnftables: {masqueradeBit: 4, masqueradeAll: true}\n"
               "nodePortAddresses: [10.0.0.0/8]\nconntrack: {tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}\n",
       {{"healthz-bind-address", ""}},
       {"masqueradeAll true", "nodePorts 10.0.0.0/8", "compat nftables", "mask 16"}},
  };
  for (const OverrideCase& tested : cases) {
    const Read found = read(tested.limpet, tested.file, tested.flags);
    ASSERT_TRUE(found.config) << tested.name << testing::PrintToString(found.diagnostics);
    EXPECT_EQ(changes(*found.config), tested.expected) << tested.name;
  }
}

TEST(KubeProxyConfig, ServicesAreReadWithTheNodeAsKubeProxySaysIt) {
  // return_path.h: without a detector, replies of an endpoint elsewhere may not come back.
  const std::string limpet =
      "services: [{name: a/b, clusterIP: 10.0.0.1, port: 80, endpoints: [{address: 10.2.0.1, nodeName: far}]}]\n";
  EXPECT_THAT(read(limpet, "").diagnostics, ElementsAre(HasSubstr("no podCIDRs tell pods from others")));
  EXPECT_THAT(read(limpet, "", {{"cluster-cidr", "10.2.0.0/16"}}).diagnostics, IsEmpty());
}

struct ComplaintCase {
  std::string name;
  std::string file;  // after kHead, whose two lines count
  Flags flags;
  Texts expected;
};

TEST(KubeProxyConfig, Complaints) {
  const ComplaintCase cases[] = {
      {"unknown key",
       "clusterCidr: 10.0.0.0/8\n",
       {},
       {"k:3:1: error: unknown key 'clusterCidr' in the KubeProxyConfiguration; did you mean 'clusterCIDR'?"}},
      {"bad values",
       "clusterCIDR: 10.0.0.0\niptables: {masqueradeBit: 32}\nconntrack: {udpTimeout: 5}\nmode: kernelspace\n",
       {},
       {"k:3:14: error: clusterCIDR: cannot use '10.0.0.0'; write a CIDR, or one of each family, as in "
        "10.28.0.0/14,fd00::/64",
        "k:4:27: error: masqueradeBit: cannot use '32'; write a number from 0 to 31",
        "k:5:25: error: udpTimeout: cannot use '5'; write a time of at most a year, as in 24h, 1m30s or 0",
        "k:6:7: error: mode: cannot use 'kernelspace'; write iptables, nftables or ipvs"}},
      {"a flag is named",
       "",
       {{"cluster-cidr", "ten"}, {"nodeport-addresses", "primary,10.0.0.0/8"}, {"bind-address", "127.0.0.1"}},
       {"--cluster-cidr: error: clusterCIDR: cannot use 'ten'; write a CIDR, or one of each family, as in "
        "10.28.0.0/14,fd00::/64",
        "--nodeport-addresses: error: nodePortAddresses: a word stands alone, without CIDRs; write primary, all, or "
        "CIDRs",
        "--bind-address: error: bindAddress: cannot use '127.0.0.1' as the node's address; write a unicast IP address "
        "that "
        "is not loopback, as in 10.0.0.1 or fd00::1"}},
      {"refused",
       "",
       {{"cleanup", "true"}, {"init-only", "false"}},
       {"--cleanup: error: is not limpet's: write `limpet divert cleanup`"}},
      {"without effect",
       "oomScoreAdj: -999\niptables: {syncPeriod: 30s, minSyncPeriod: 0s}\nfeatureGates: {}\n",
       {{"v", "2"}, {"vmodule", ""}, {"metrics-bind-address", "0.0.0.0:10249"}},
       {"k:3:14: warning: oomScoreAdj has no effect in limpet: let the service manager set it",
        "k:4:24: warning: syncPeriod has no effect in limpet: changes are followed as they come",
        "--v: warning: has no effect in limpet: see --log-level",
        "--metrics-bind-address: warning: metricsBindAddress has no effect in limpet: there is no metrics port; see "
        "`limpet show stats`"}},
      {"ipvs",
       "mode: ipvs\nipvs: {scheduler: sh}\n",
       {},
       {"k:3:7: warning: mode: limpet decides as kube-proxy does in mode iptables, not ipvs",
        "k:3:7: error: ipvs.scheduler is 'sh', and limpet picks at random; write rr, or choose another mode"}},
      {"detectors that lack what they need",
       "detectLocalMode: BridgeInterface\n",
       {},
       {"k:3:18: error: detectLocalMode needs detectLocal.bridgeInterface; write it"}},
      {"no CIDR of the node",
       "",
       {{"detect-local-mode", "NodeCIDR"}, {"cluster-cidr", "10.0.0.0/8"}},
       {"--detect-local-mode: error: detectLocalMode NodeCIDR: only an API server knows the node's podCIDRs; write "
        "them in "
        "limpet.yaml as node.podCIDRs"}},
      {"no CIDR of the cluster",
       "detectLocalMode: ClusterCIDR\n",
       {},
       {"k:3:18: warning: detectLocalMode ClusterCIDR: there is no clusterCIDR: no source counts as a pod"}},
  };
  for (const ComplaintCase& tested : cases) {
    const std::string file = kHead + tested.file;
    EXPECT_EQ(read(kLimpet, file, tested.flags).diagnostics, tested.expected) << tested.name;
  }
  EXPECT_THAT(read(kLimpet, "apiVersion: kubeproxy.config.k8s.io/v1\n").diagnostics,
              ElementsAre("k:1:13: error: apiVersion: cannot use 'kubeproxy.config.k8s.io/v1'; write "
                          "kubeproxy.config.k8s.io/v1alpha1"));
  EXPECT_THAT(read(kLimpet + "node: {compat: nftables}\n", kHead + "mode: iptables\n").diagnostics,
              Contains("k:3:7: error: mode and limpet.yaml's node.compat name two different ones; remove node.compat"));
}

TEST(KubeProxyConfig, EveryFlagIsReadable) {
  for (const KubeProxyFlag& flag : KubeProxyConfig::flags()) {
    KubeProxyConfig config;
    config.read_flag(flag.name, flag.is_switch ? "false" : "");
    // Nothing but a value that will not do: each path of the table leads to a key.
    for (const Diagnostic& each : config.take_diagnostics()) {
      EXPECT_THAT(each.message, HasSubstr("cannot use ''")) << flag.name;
    }
  }
}

TEST(KubeProxyConfig, IsRecognised) {
  EXPECT_TRUE(KubeProxyConfig::recognises(kHead));
  EXPECT_TRUE(
      KubeProxyConfig::recognises(R"({"kind": "KubeProxyConfiguration", "apiVersion": "kubeproxy.config.k8s.io/v1"})"));
  EXPECT_FALSE(KubeProxyConfig::recognises(kLimpet));
  EXPECT_FALSE(KubeProxyConfig::recognises("kind: [KubeProxyConfiguration]"));
  EXPECT_FALSE(KubeProxyConfig::recognises(": ["));
  EXPECT_FALSE(KubeProxyConfig::recognises(""));
}

// ----------------------------------------------------------------------------------------------------------- from files

class KubeProxyFiles : public testing::Test {
 protected:
  KubeProxyFiles() { std::filesystem::create_directories(folder_); }
  ~KubeProxyFiles() override { std::filesystem::remove_all(folder_); }
  std::string write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name) << text;
    return (folder_ / name).string();
  }
  Texts complaints(const ConfigSources& sources) const {
    Texts result;
    for (Diagnostic each : load_config(sources).diagnostics) {
      each.file = std::filesystem::path(each.file).filename().string();
      result.push_back(to_string(each));
    }
    return result;
  }

  std::filesystem::path folder_ =
      std::filesystem::temp_directory_path() / ("limpet_kube_proxy_" + std::to_string(getpid()));
};

TEST_F(KubeProxyFiles, AreToldApartInAnyOrder) {
  ConfigSources sources;
  sources.files = {write("kube.conf", kHead + "clusterCIDR: 10.28.0.0/14\nhostnameOverride: node-1\n"),
                   write("limpet.yaml", kLimpet)};
  sources.flags = {{"hostname-override", "node-2"}};
  const LoadedConfig loaded = load_config(sources);
  ASSERT_TRUE(loaded.config);
  EXPECT_EQ(loaded.config->node.name, "node-2");
  EXPECT_THAT(loaded.config->node.pod_cidrs, ElementsAre(cidr("10.28.0.0/14")));
  EXPECT_EQ(loaded.config->services.size(), 1U);
}

TEST_F(KubeProxyFiles, OneOfEachKind) {
  const std::string kube = write("kube.conf", kHead);
  const std::string limpet = write("limpet.yaml", kLimpet);
  ConfigSources sources;
  sources.files = {kube, limpet, kube, limpet};
  EXPECT_THAT(complaints(sources), ElementsAre("kube.conf: error: is another KubeProxyConfiguration; name one of them",
                                               "limpet.yaml: error: is another limpet.yaml; name one of them"));
}

TEST_F(KubeProxyFiles, AloneItBalancesNothing) {
  const ConfigSources sources(write("kube.conf", kHead + "nodePortAddresses: [10.0.0.0/8]\n"));
  EXPECT_THAT(complaints(sources), ElementsAre("kube.conf: warning: no services: nothing is balanced"));
  EXPECT_THAT(load_config(sources).config->node.node_port_addresses, ElementsAre(cidr("10.0.0.0/8")));
}

}  // namespace
}  // namespace limpet::service
