// limpet.yaml in, complaints out. Lines and columns are counted by hand in the text beside them.
#include "lb/service/config_reader.h"

#include <ostream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

std::vector<std::string> complaints(const std::string& text) {
  std::vector<std::string> result;
  for (const Diagnostic& diagnostic : read_config(text, "f", "host").diagnostics) {
    result.push_back(to_string(diagnostic));
  }
  return result;
}

struct Case {
  const char* name;
  const char* yaml;
  std::vector<std::string> diagnostics;
};
std::string case_name(const testing::TestParamInfo<Case>& info) {
  return info.param.name;
}
void PrintTo(const Case& c, std::ostream* out) {
  *out << c.name;
}

class Diagnostics : public testing::TestWithParam<Case> {};

TEST_P(Diagnostics, are_all_there_with_their_places) {
  const Case& c = GetParam();
  EXPECT_EQ(complaints(c.yaml), c.diagnostics) << c.yaml;
}

const std::string kMinimal =
    "services: [{name: default/web:http, clusterIP: 10.96.0.10, port: 80, endpoints: [{address: 10.0.0.5}]}]";
const std::string kNoServices = "no services: nothing is balanced";

const Case kYaml[] = {
    {"empty", "", {"f:1:1: error: the configuration is empty; a minimal one is " + kMinimal}},
    {"comment_only", "# nothing\n", {"f:1:1: error: the configuration is empty; a minimal one is " + kMinimal}},
    {"a_list", "- a\n", {"f:1:1: error: the configuration is a list; write a mapping of keys to values"}},
    {"open_bracket",
     "services: [\n",
     {"f:2:1: error: not YAML: end of sequence flow not found; check indentation, quotes and brackets here and just "
      "above"}},
    {"unknown_anchor",
     "services: *x\n",
     {"f:1:11: error: not YAML: the referenced anchor is not defined; check indentation, quotes and brackets here and "
      "just above"}},
    {"two_documents",
     "services: []\n---\nnode: {}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:3:1: error: a second document begins here; put everything into one"}},
    {"misspelt_key",
     "services: []\nmidstraem: pick\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:1: error: unknown key 'midstraem' in the configuration; did you mean 'midstream'?"}},
    {"wrong_case",
     "services: []\nmarks: {Mask: 0x1}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:9: error: unknown key 'Mask' in marks; did you mean 'mask'?"}},
    {"far_from_any_key",
     "services: []\nmarks: {colour: red}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:9: error: unknown key 'colour' in marks; known are mask"}},
    {"duplicate_key",
     "services: []\nstop: keep\nstop: remove\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:3:1: error: duplicate key 'stop' in the configuration, first on line 2; keep one of the two"}},
    {"no_value",
     "services: []\nstop:\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:1: error: stop has no value; give it one or remove the key"}},
    {"list_for_scalar",
     "services: []\nstop: [keep]\n",
     {"f:1:11: warning: services is empty: nothing is balanced", "f:2:7: error: stop is a list; write keep or remove"}},
    {"scalar_for_mapping",
     "services: []\nqueues: 4\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:9: error: queues is a single value; write a mapping of keys to values"}},
    {"scalar_for_list", "services: web\n", {"f:1:11: error: services is a single value; write a list, as in [a, b]"}},
    {"list_that_holds_itself",
     "services: &all [*all]\n",
     {"f:1:11: error: services[0] is a list; write a mapping of keys to values"}},
    {"key_is_a_list",
     "services: []\n? [a]\n: b\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:3: error: a key in the configuration is a list; write a word"}},
};
INSTANTIATE_TEST_SUITE_P(yaml, Diagnostics, testing::ValuesIn(kYaml), case_name);

const Case kSettings[] = {
    {"unavailable_datapath",
     "datapath: offload\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:11: error: datapath: cannot use 'offload'; write rewrite (not available in this version: offload, route)"}},
    {"unknown_backend",
     "divert: {backend: pf, defragment: always}\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:19: error: backend: cannot use 'pf'; write auto, iptables, iptables-nft, iptables-legacy or nft",
      "f:1:35: error: defragment: cannot use 'always'; write auto or never"}},
    {"unknown_answers",
     "rejectWith: rst\nicmpEcho: answer\n",
     {"f:1:1: warning: " + kNoServices, "f:1:13: error: rejectWith: cannot use 'rst'; write icmp or tcp-reset",
      "f:2:11: error: icmpEcho: cannot use 'answer'; write ignore or reply"}},
    {"replies_out_of_range",
     "replies: {perSecond: 1000001, burst: 0}\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:22: error: perSecond: cannot use '1000001'; write a number from 0 to 1000000",
      "f:1:38: error: burst: cannot use '0'; write a number from 1 to 1000000"}},
    {"fragment_table_too_large",
     "tables: {fragments: 16777217}\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:21: error: fragments: cannot use '16777217'; write a number from 1 to 16777216"}},
    {"queue_beyond_the_last",
     "queues: {first: 65535, count: 2}\n",
     {"f:1:1: warning: " + kNoServices, "f:1:31: error: queues 65535 to 65536 do not exist; the last one is 65535"}},
    {"batch_too_large",
     "queues: {batch: 1025}\n",
     {"f:1:1: warning: " + kNoServices, "f:1:17: error: batch: cannot use '1025'; write a number from 1 to 1024"}},
    {"mask_of_two_bits",
     "marks: {mask: 0x3000}\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:15: error: mask: cannot use '0x3000'; write a 32-bit mask of exactly one bit, as in 0x1000"}},
    {"mask_of_no_bit",
     "marks: {mask: 0}\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:15: error: mask: cannot use '0'; write a 32-bit mask of exactly one bit, as in 0x1000"}},
    {"mask_of_33_bits",
     "marks: {mask: 0x100000000}\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:15: error: mask: cannot use '0x100000000'; write a 32-bit mask of exactly one bit, as in 0x1000"}},
    {"range_reversed",
     "masqueradePorts: [2000-1024, 1-2]\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:19: error: masqueradePorts: cannot use '2000-1024'; write a port range from low to high, as in 1024-29999"}},
    {"ranges_overlap",
     "masqueradePorts: [2000-3000, 1024-2000]\n",
     {"f:1:1: warning: " + kNoServices, "f:1:18: error: port 2000 is in two ranges; make the ranges disjoint"}},
    {"no_range",
     "masqueradePorts: []\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:18: error: masqueradePorts holds no range; write at least one, as in [1024-29999]"}},
    {"timeout_of_unknown_unit",
     "timeouts: {udp: 5w}\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:17: error: udp: cannot use '5w'; write a time from 1s to 31536000s, as in 300, 300s, 5m, 1h or 5d"}},
    {"timeout_too_long",
     "timeouts: {udp: 99999999999999999999d}\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:17: error: udp: cannot use '99999999999999999999d'; write a time from 1s to 31536000s, as in 300, 300s, 5m, "
      "1h or 5d"}},
    {"timeout_unknown",
     "timeouts: {tcp_establish: 5m}\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:12: error: unknown key 'tcp_establish' in timeouts; did you mean 'tcp_established'?"}},
    {"state_that_is_no_path",
     "state: {path: limpet.state}\ncontrol: {socket: /run/}\ninstance: ../x\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:15: error: path: cannot use 'limpet.state'; write auto, none, or an absolute path on a tmpfs",
      "f:2:19: error: socket: cannot use '/run/'; write auto, none, or an absolute path",
      "f:3:11: error: instance: cannot use '../x'; write a name of letters, digits, '-', '_' and '.', as in blue-1"}},
    {"healthz_without_a_port",
     "healthz: 127.0.0.1:0\n",
     {"f:1:1: warning: " + kNoServices,
      "f:1:10: error: healthz: cannot use '127.0.0.1:0'; write an address and a port, as in 127.0.0.1:10256 or "
      "[::]:10256"}},
    {"instance_that_the_state_file_cannot_hold",
     "instance: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nservices: []\n",
     {"f:1:11: error: instance: cannot use 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'; "
      "write a name of letters, digits, '-', '_' and '.', as in blue-1",
      "f:2:11: warning: services is empty: nothing is balanced"}},
    {"objects_balance_without_services", "kubernetes: {files: [a.json]}\n", {}},
    {"objects_without_files", "kubernetes: {}\n", {"f:1:13: error: kubernetes has no files; write a list of paths"}},
    {"rules_balance_without_services", "rules: {file: b}\n", {}},
    {"rules_without_a_file",
     "rules: {ipsets: b, lenient: maybe}\n",
     {"f:1:8: error: rules has no file; write the path of a file",
      "f:1:29: error: lenient: cannot use 'maybe'; write true or false"}},
    {"rules_out_of_range",
     "rules: {file: b, hz: 0, recent: {ipListTotal: 0, ipPacketListTotal: 65537, ipListTot: 1}, nthOnReload: never}\n",
     {"f:1:22: error: hz: cannot use '0'; write a number from 1 to 10000",
      "f:1:47: error: ipListTotal: cannot use '0'; write a number from 1 to 2147483648, or unlimited",
      "f:1:69: error: ipPacketListTotal: cannot use '65537'; write a number from 0 to 65536",
      "f:1:76: error: unknown key 'ipListTot' in recent; did you mean 'ipListTotal'?",
      "f:1:104: error: nthOnReload: cannot use 'never'; write reset or persist"}},
    {"lists_without_memory",
     "rules: {file: b, recent: {memoryMiB: 0}}\n",
     {"f:1:38: error: memoryMiB: cannot use '0'; write a number from 1 to 16777216"}},
    {"nothing_reloads_rules",
     "rules: {file: b, nthOnReload: persist}\n",
     {"f:1:31: warning: nthOnReload has no effect in this version: a running limpet does not reload its rules"}},
};
INSTANTIATE_TEST_SUITE_P(settings, Diagnostics, testing::ValuesIn(kSettings), case_name);

const Case kNode[] = {
    {"bad_addresses",
     "services: []\nnode: {nodeIP: 127.0.0.1, addresses: [10.0.0.256, fd00::1]}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:16: error: nodeIP: cannot use '127.0.0.1'; write a unicast IP address that is not loopback, as in 10.0.0.1 "
      "or fd00::1",
      "f:2:39: error: addresses: cannot use '10.0.0.256'; write an IP address, as in 10.0.0.1 or fd00::1"}},
    {"cidr_with_host_bits",
     "services: []\nnode: {podCIDRs: [10.28.0.1/14]}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:19: error: podCIDRs: cannot use '10.28.0.1/14'; write a CIDR without host bits, as in 10.28.0.0/14 or "
      "fd00::/64"}},
    {"mode_without_cidrs",
     "services: []\nnode: {detectLocal: {mode: NodeCIDR}}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:28: warning: this mode recognises pods by podCIDRs, and there are none: no source counts as a pod"}},
    {"mode_without_interface",
     "services: []\nnode: {detectLocal: {mode: BridgeInterface}}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:21: error: detectLocal has no bridgeInterface; write the name of an interface, as in cbr0"}},
    {"interface_of_another_mode",
     "services: []\nnode: {detectLocal: {mode: None, bridgeInterface: cbr0}}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:51: error: bridgeInterface does not belong to this mode; remove it or change the mode"}},
    {"localhost_node_ports_beside_addresses_of_ipv6",
     "services: [{name: a/b:c, nodePort: 1, port: 1}]\n"
     "node: {localhostNodePorts: true, nodePortAddresses: [fd00::/64]}\n",
     {}},
    {"node_port_addresses_word",
     "services: []\nnode: {nodePortAddresses: all}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:27: error: nodePortAddresses: cannot use 'all'; write a list of CIDRs, or primary"}},
    {"localhost_node_ports", "services: [{name: a/b:c, nodePort: 1, port: 1}]\nnode: {localhostNodePorts: true}\n", {}},
    {"localhost_let_in",
     "services: [{name: a/b:c, nodePort: 1, port: 1}]\n"
     "node: {localhostNodePorts: true, nodePortAddresses: [10.0.0.0/8, 127.0.0.0/8]}\n",
     {}},
    {"localhost_left_out",
     "services: [{name: a/b:c, nodePort: 1, port: 1}]\n"
     "node: {localhostNodePorts: true, nodePortAddresses: [10.0.0.0/8]}\n",
     {"f:2:28: warning: localhostNodePorts has no effect: nodePortAddresses leaves 127.0.0.1 out"}},
    {"localhost_is_not_primary",
     "services: [{name: a/b:c, nodePort: 1, port: 1}]\n"
     "node: {localhostNodePorts: true, nodePortAddresses: primary}\n",
     {"f:2:28: warning: localhostNodePorts has no effect: nodePortAddresses leaves 127.0.0.1 out"}},
    {"compat_of_its_mode",
     "services: []\nnode: {zone: a, compat: nftables, serviceCIDRs: [10.96.0.0/12]}\n",
     {"f:1:11: warning: services is empty: nothing is balanced"}},
    {"service_cidrs_without_effect",
     "services: []\nnode: {serviceCIDRs: [10.96.0.0/12]}\n",
     {"f:1:11: warning: services is empty: nothing is balanced",
      "f:2:22: warning: serviceCIDRs has no effect without compat: nftables"}},
    {"localhost_is_not_for_nftables",
     "services: [{name: a/b:c, nodePort: 1, port: 1}]\n"
     "node: {localhostNodePorts: true, compat: nftables, nodePortAddresses: [127.0.0.0/8]}\n",
     {"f:2:28: warning: localhostNodePorts has no effect with compat: nftables"}},
};
INSTANTIATE_TEST_SUITE_P(node, Diagnostics, testing::ValuesIn(kNode), case_name);

const Case kServices[] = {
    {"minimal_is_good", kMinimal.c_str(), {}},
    {"nothing_in_it",
     "services:\n  - {}\n",
     {"f:2:5: error: services[0] has no name; write namespace/name:port, as in default/web:http",
      "f:2:5: error: services[0] has no port; write a number from 1 to 65535",
      "f:2:5: error: services[0] has neither clusterIP nor nodePort; write one of them"}},
    {"bad_name",
     "services: [{name: web, clusterIP: 10.0.0.1, port: 80}]\n",
     {"f:1:19: error: name: cannot use 'web'; write namespace/name:port, as in default/web:http"}},
    {"port_zero_and_too_large",
     "services: [{name: a/b:c, clusterIP: 10.0.0.1, port: 0, nodePort: 65536}]\n",
     {"f:1:53: error: port: cannot use '0'; write a number from 1 to 65535",
      "f:1:66: error: nodePort: cannot use '65536'; write a number from 1 to 65535"}},
    {"unknown_protocol_and_algorithm",
     "services:\n  - name: a/b:c\n    clusterIP: 10.0.0.1\n    port: 80\n    protocol: sctp\n    algorithm: maglev\n",
     {"f:5:15: error: protocol: cannot use 'sctp'; write TCP, UDP, SCTP or UDPLite",
      "f:6:16: error: algorithm: cannot use 'maglev'; write random"}},
    {"affinity_out_of_range",
     "services: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80, sessionAffinity: {clientIP: {timeoutSeconds: 86401}}}]\n",
     {"f:1:102: error: timeoutSeconds: cannot use '86401'; write a number from 0 to 86400"}},
    {"affinity_of_nothing",
     "services: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80, sessionAffinity: {}}]\n",
     {"f:1:74: error: sessionAffinity has no clientIP; write ClientIP or None"}},
    {"affinity_of_another_kind",
     "services: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80, sessionAffinity: Cookie}]\n",
     {"f:1:74: error: sessionAffinity: cannot use 'Cookie'; write None or ClientIP"}},
    {"endpoint_of_another_family",
     "services:\n- {name: a/b:c, clusterIP: 10.0.0.1, port: 80, endpoints: [{address: 'fd00::1'}]}\n"
     "- {name: a/b:d, nodePort: 1, port: 80, endpoints: [{address: 10.0.0.1}, {address: 'fd00::1'}]}\n",
     {"f:2:70: error: fd00::1 is of another family than the service's clusterIP; write one service per family",
      "f:3:83: error: fd00::1 is of another family than the service's first endpoint; write one service per family"}},
    {"endpoint_twice",
     "services:\n- name: a/b:c\n  clusterIP: 10.0.0.1\n  port: 80\n  endpoints:\n  - address: 10.0.0.2\n"
     "  - {address: 10.0.0.2, port: 80}\n  - {address: 10.0.0.2, port: 81, weight: 1048577}\n",
     {"f:7:15: error: endpoint 10.0.0.2:80 is already listed on line 6; give it a larger weight instead",
      "f:8:43: error: weight: cannot use '1048577'; write a number from 0 to 1048576"}},
    {"endpoint_is_multicast",
     "services: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80, endpoints: [{address: 224.0.0.1}]}]\n",
     {"f:1:79: error: address: cannot use '224.0.0.1'; write a unicast IP address that is not loopback, as in 10.0.0.1 "
      "or fd00::1"}},
    {"three_collisions",
     "services:\n- {name: a/b:c, clusterIP: 10.0.0.1, port: 80, nodePort: 30000}\n"
     "- {name: a/b:c, clusterIP: 10.0.0.1, port: 80, nodePort: 30000}\n",
     {"f:3:10: error: name a/b:c is taken by a/b:c on line 2; change one of the two",
      "f:3:28: error: clusterIP 10.0.0.1:80/TCP is taken by a/b:c on line 2; change one of the two",
      "f:3:58: error: nodePort 30000/TCP (IPv4) is taken by a/b:c on line 2; change one of the two"}},
    {"collision_of_another_protocol",
     "services:\n- {name: a/b:c, clusterIP: 10.0.0.1, port: 80, protocol: SCTP}\n"
     "- {name: a/b:d, clusterIP: 10.0.0.1, port: 80, protocol: SCTP}\n",
     {"f:3:28: error: clusterIP 10.0.0.1:80/SCTP is taken by a/b:c on line 2; change one of the two"}},
    {"neighbours_do_not_collide",
     "services:\n- {name: a/b:c, clusterIP: 10.0.0.1, port: 80, nodePort: 30000}\n"
     "- {name: a/b:d, clusterIP: 10.0.0.1, port: 81}\n- {name: a/b:e, clusterIP: 10.0.0.1, port: 80, protocol: UDP, "
     "nodePort: 30000}\n- {name: a/b:f, clusterIP: 'fd00::1', port: 80, nodePort: 30000}\n"
     "- {name: a/b:g, clusterIP: 10.0.0.1, port: 80, protocol: SCTP, nodePort: 30000}\n"
     "- {name: a/b:h, clusterIP: 10.0.0.1, port: 80, protocol: UDPLite, nodePort: 30000}\n",
     {}},
    {"vip_of_the_node",
     "node: {addresses: [10.0.0.1]}\nservices: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80}]\n",
     {"f:2:37: warning: clusterIP 10.0.0.1 is also an address of this node: connections from it are masqueraded"}},
    {"vip_is_the_node_ip",
     "node: {nodeIP: 10.0.0.1}\nservices: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80}]\n",
     {"f:2:37: warning: clusterIP 10.0.0.1 is also an address of this node: connections from it are masqueraded"}},
};
INSTANTIATE_TEST_SUITE_P(services, Diagnostics, testing::ValuesIn(kServices), case_name);

const Case kAffinities[] = {
    {"affinity_words",
     "services: [{name: a/b:c, nodePort: 1, port: 1, masquerade: never,\n"
     " sessionAffinity: {clientIP: {refresh: always, scope: all, prefixLength: 33}}}]\n",
     {"f:2:40: error: refresh: cannot use 'always'; write connections, packets or never",
      "f:2:55: error: scope: cannot use 'all'; write port or service",
      "f:2:74: error: prefixLength: cannot use '33'; write a number from 1 to 32"}},
    {"group_and_scope",
     "services: [{name: a/b:c, nodePort: 1, port: 1, masquerade: never,\n"
     " sessionAffinity: {clientIP: {scope: port, group: x}}}]\n",
     {"f:2:51: error: group and scope exclude each other; remove one of the two"}},
    {"ports_of_a_service_disagree",
     "services:\n"
     "- {name: a/b:c, nodePort: 1, port: 1, masquerade: never, sessionAffinity: {clientIP: {scope: service}}}\n"
     "- {name: a/b:d, nodePort: 2, port: 1, masquerade: never,\n"
     "   sessionAffinity: {clientIP: {scope: service, timeoutSeconds: 5}}}\n",
     {"f:4:21: error: shares its clients with a/b:c on line 2, but states another timeoutSeconds, refresh or "
      "prefixLength; write the same"}},
    {"one_group_agrees",
     "services:\n"
     "- {name: a/b:c, nodePort: 1, port: 1, masquerade: never, sessionAffinity: {clientIP: {group: x}}}\n"
     "- {name: d/e:f, nodePort: 2, port: 1, masquerade: never, sessionAffinity: {clientIP: {group: x}}}\n",
     {}},
};
INSTANTIATE_TEST_SUITE_P(affinities, Diagnostics, testing::ValuesIn(kAffinities), case_name);

TEST(ConfigReader, hands_out_nothing_with_an_error_and_something_with_a_warning) {
  EXPECT_FALSE(read_config("stop: never\n", "f", "host").config);
  const LoadedConfig warned = read_config("state: {path: auto}\n", "f", "host");
  EXPECT_TRUE(warned.config);
  EXPECT_FALSE(warned.diagnostics.empty());
}

TEST(ConfigReader, a_program_runs_compiled_with_the_kernels_parameters_unless_told_otherwise) {
  const auto plain = read_config("rules: {file: dump}", "etc/limpet.yaml", "host");
  ASSERT_TRUE(plain.config);
  const RulesConfig& kernels = plain.config->rules;
  EXPECT_EQ(kernels.file, "etc/dump");
  EXPECT_EQ(kernels.ipsets, "");
  EXPECT_TRUE(kernels.compiled);
  EXPECT_FALSE(kernels.lenient);
  EXPECT_EQ(kernels.hz, 0U);
  EXPECT_EQ(kernels.ip_list_tot, 100U);
  EXPECT_EQ(kernels.ip_pkt_list_tot, 0U);
  EXPECT_EQ(kernels.recent_mib, 1024U);

  const auto told = read_config(
      "rules: {file: /var/dump, ipsets: sets, lenient: true, compiled: false, hz: 1000,\n"
      "        recent: {ipListTotal: unlimited, ipPacketListTotal: 20, memoryMiB: 7}, nthOnReload: reset}",
      "limpet.yaml", "host");
  ASSERT_TRUE(told.config);
  EXPECT_TRUE(told.diagnostics.empty());
  const RulesConfig& others = told.config->rules;
  EXPECT_EQ(others.file, "/var/dump");
  EXPECT_EQ(others.ipsets, "sets");
  EXPECT_FALSE(others.compiled);
  EXPECT_TRUE(others.lenient);
  EXPECT_EQ(others.hz, 1000U);
  EXPECT_EQ(others.ip_list_tot, 0U);
  EXPECT_EQ(others.ip_pkt_list_tot, 20U);
  EXPECT_EQ(others.recent_mib, 7U);
}

TEST(ConfigReader, names_a_file_that_it_cannot_read) {
  EXPECT_EQ(to_string(load_config("/nonexistent/limpet.yaml").diagnostics.at(0)),
            "/nonexistent/limpet.yaml: error: cannot be read: No such file or directory; name a readable file");
  EXPECT_EQ(to_string(load_config("/").diagnostics.at(0)),
            "/: error: cannot be read: Is a directory; name a readable file");
}

TEST(ConfigReader, survives_deep_nesting) {
  const std::vector<std::string> diagnostics = complaints("services: " + std::string(100'000, '['));
  ASSERT_FALSE(diagnostics.empty());
  EXPECT_THAT(diagnostics[0], testing::HasSubstr("error: not YAML: "));
}

}  // namespace
}  // namespace limpet::service
