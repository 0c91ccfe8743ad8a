#include "lb/divert/doctor_diagnosis.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <utility>
#include <vector>

#include <linux/netfilter/nfnetlink_queue.h>

#include "lb/divert/doctor_fragment.h"
#include "lb/divert/doctor_machine.h"
#include "lb/divert/doctor_packet.h"
#include "lb/divert/doctor_queue.h"
#include "lb/divert/doctor_rules.h"
#include "lb/divert/doctor_sandbox.h"

namespace limpet::divert {

namespace {

using net::Family;

constexpr std::chrono::milliseconds kProbeLimit{5000};
constexpr std::chrono::milliseconds kWholeLimit{30000};  // tools that hang would hang every probe that runs them
constexpr const char* kNfqueue = "NFQUEUE";
constexpr const char* kPacketV4 = "a packet, IPv4";
constexpr const char* kPacketV6 = "a packet, IPv6";

struct Probe {
  const char* group;
  std::string name;
  std::function<Observation()> look;
  std::string consequence;
  std::string remedy;
};

// What crosses the sandbox's wall: one digit, then the detail.
std::string encode(const Observation& seen) {
  return static_cast<char>('0' + static_cast<int>(seen.status)) + seen.detail;
}

Observation decode(const std::string& text) {
  if (text.empty() || text[0] < '0' || text[0] > '4') return {};
  return {static_cast<CheckStatus>(text[0] - '0'), text.substr(1)};
}

std::vector<Probe> queue_probes() {
  const char* needs = "CONFIG_NETFILTER_NETLINK_QUEUE (module nfnetlink_queue)";
  return {{"queue", kNfqueue, probe_bind, "no packet can come to limpet", std::string("a kernel with ") + needs},
          {"queue", "super-packets (F_GSO)", [] { return probe_queue_flags(NFQA_CFG_F_GSO); },
           "limpet does not start: it would see thirty times as many packets", "a kernel of 3.10 or later"},
          {"queue", "conntrack attributes (F_CONNTRACK)", [] { return probe_queue_flags(NFQA_CFG_F_CONNTRACK); },
           "nothing: limpet does not use them", ""},
          {"queue", "raw sockets", probe_raw_sockets, "rejected connections and echo requests are not answered",
           "a kernel with CONFIG_INET and CONFIG_IPV6, and CAP_NET_RAW"}};
}

Observation look_through(Variant variant, Family family) {
  for (const Xtables& tools : Xtables::installed()) {
    if (tools.variant() == variant) return probe_backend(tools, family);
  }
  return {CheckStatus::missing, "not installed"};
}

std::vector<Probe> rule_probes() {
  std::vector<Probe> probes;
  const auto add = [&](const char* name, Variant variant, const char* remedy) {
    for (const Family family : {Family::v4, Family::v6}) {
      probes.push_back({"rules", std::string(name) + (family == Family::v4 ? " IPv4" : " IPv6"),
                        [variant, family] { return look_through(variant, family); },
                        "limpet cannot use this back-end; one is enough", remedy});
    }
  };
  add("iptables-nft", Variant::nft,
      "package iptables; a kernel with CONFIG_NF_TABLES, NFT_COMPAT, NETFILTER_XT_TARGET_NFQUEUE, _MATCH_MARK");
  add("iptables-legacy", Variant::legacy,
      "package iptables; a kernel with IP_NF_RAW, IP_NF_MANGLE, their IP6_ twins, NETFILTER_XT_TARGET_NFQUEUE");
  probes.push_back({"rules", "nft queue", probe_nft_queue, "divert.backend: nft is not possible; an iptables will do",
                    "package nftables; a kernel with CONFIG_NFT_QUEUE"});
  return probes;
}

std::vector<Probe> packet_probes(Backend backend) {
  const auto probe = [backend](const char* name, Family family) {
    return Probe{"packets", name, [family, backend] { return probe_packet(family, backend); },
                 "services of this family cannot be balanced", "what is missing above; a back-end and NFQUEUE"};
  };
  const auto fragments = [backend](const char* name, Family family) {
    return Probe{"packets", name, [family, backend] { return probe_defragmentation(family, backend); },
                 "where conntrack is not in use, datagrams do not come to limpet whole",
                 "a kernel with NETFILTER_XT_MATCH_SOCKET (for nft: NFT_TPROXY), or conntrack in use"};
  };
  return {probe(kPacketV4, Family::v4), probe(kPacketV6, Family::v6), fragments("fragments, IPv4", Family::v4),
          fragments("fragments, IPv6", Family::v6)};
}

Probe extension_probe(const char* group, const char* name, Extension extension, const char* consequence,
                      const char* remedy) {
  return {group, name, [extension] { return probe_extension(Xtables::installed(), extension); }, consequence, remedy};
}

std::vector<Probe> option_probes() {
  const char* none = "nothing: limpet does not use it";
  const char* rival = "nothing: limpet replaces it; the demo and bench/wire cannot compare";
  return {
      extension_probe("options", "address sets", Extension::sets, "one rule an address: slower with many services",
                      "package ipset; a kernel with IP_SET_HASH_IP, IP_SET_HASH_IPPORT, NETFILTER_XT_SET"),
      extension_probe("options", "socket match", Extension::socket,
                      "without conntrack, datagrams in fragments reach no hook whole",
                      "a kernel with NETFILTER_XT_MATCH_SOCKET, or conntrack in use"),
      extension_probe("options", "CT target", Extension::notrack,
                      "where conntrack is in use, an INVALID-dropping firewall may eat limpet's answers",
                      "a kernel with NETFILTER_XT_TARGET_CT"),
      {"options", "nft tproxy", probe_nft_tproxy,
       "with divert.backend: nft, datagrams in fragments are followed piece by piece",
       "a kernel with CONFIG_NFT_TPROXY"},
      {"options", "nft notrack", probe_nft_notrack,
       "with divert.backend: nft and conntrack in use, an INVALID-dropping firewall may eat limpet's answers",
       "a kernel with CONFIG_NFT_CT"},
      extension_probe("options", "icmp match", Extension::icmp, "errors about translated flows are not translated",
                      "a kernel with IP_NF_IPTABLES, IP6_NF_IPTABLES and NETFILTER_XTABLES"),
      extension_probe("options", "sctp match", Extension::sctp, "services with protocol: SCTP cannot be diverted",
                      "a kernel with NETFILTER_XT_MATCH_SCTP"),
      extension_probe("options", "multiport match", Extension::multiport,
                      "services with protocol: UDPLite cannot be diverted",
                      "a kernel with NETFILTER_XT_MATCH_MULTIPORT"),
      extension_probe("options", "frag match", Extension::frag,
                      "without the socket match, IPv6 datagrams in fragments are lost",
                      "a kernel with IP6_NF_MATCH_FRAG"),
      extension_probe("options", "comment match", Extension::comment, none, ""),
      extension_probe("kernel nat", "connection tracking", Extension::state, "nothing for rewrite; offload needs it",
                      "a kernel with NF_CONNTRACK and NETFILTER_XT_MATCH_CONNTRACK"),
      extension_probe("kernel nat", "nat table", Extension::dnat, "nothing for rewrite; offload needs it",
                      "a kernel with NF_NAT and NETFILTER_XT_NAT"),
      {"kernel nat", "nft map dnat", probe_nft_map,
       "nothing for rewrite; offload takes a mark tree in iptables instead", "package nftables; a kernel with NFT_NAT"},
      {"kernel nat", "policy routing", probe_policy_routing, "nothing for rewrite; route needs it",
       "package iproute2; a kernel with IP_MULTIPLE_TABLES and IPV6_MULTIPLE_TABLES"},
      extension_probe("comparison", "recent match", Extension::recent, rival, ""),
      extension_probe("comparison", "statistic match", Extension::statistic, rival, "")};
}

std::vector<Probe> all_probes(Backend backend) {
  std::vector<Probe> all = queue_probes();
  for (auto& more : {rule_probes(), packet_probes(backend), option_probes()}) {
    all.insert(all.end(), more.begin(), more.end());
  }
  return all;
}

Observation look(const Probe& probe, std::chrono::milliseconds limit) {
  const auto seen = run_in_sandbox([&] { return encode(probe.look()); }, limit);
  return seen ? decode(*seen) : Observation{CheckStatus::unknown, seen.error().message};
}

Check judge(const Probe& probe, Observation seen) {
  Check check{probe.group, probe.name, seen.status, std::move(seen.detail)};
  if (!check.good()) {
    check.consequence = probe.consequence;
    check.remedy = probe.remedy;
  }
  return check;
}

const Check* find(const Checks& checks, std::string_view name) {
  const auto found = std::find_if(checks.begin(), checks.end(), [&](const Check& check) { return check.name == name; });
  return found == checks.end() ? nullptr : &*found;
}

bool has(const Checks& checks, std::string_view name) {
  const Check* check = find(checks, name);
  return check != nullptr && check->status == CheckStatus::found;
}

std::string detail_of(const Checks& checks, std::string_view name) {
  const Check* check = find(checks, name);
  return check != nullptr ? check->detail : "not probed";
}

Datapath conclude_rewrite(const Checks& checks) {
  const bool v4 = has(checks, kPacketV4);
  const bool v6 = has(checks, kPacketV6);
  if (!v4 && !v6) {
    if (!has(checks, kNfqueue)) return {"rewrite", false, "NFQUEUE: " + detail_of(checks, kNfqueue)};
    return {"rewrite", false, "no packet came through: " + detail_of(checks, kPacketV4)};
  }
  if (v4 && v6) return {"rewrite", true, "a packet was rewritten at every hook and arrived, IPv4 and IPv6"};
  const char* other = v4 ? kPacketV6 : kPacketV4;
  return {"rewrite", true,
          std::string("a packet was rewritten at every hook and arrived, ") + (v4 ? "IPv4" : "IPv6") +
              " only; the other family: " + detail_of(checks, other)};
}

/// A datapath of the design that this version has not got, and what of its needs this kernel meets.
Datapath conclude_absent(const Checks& checks, std::string_view name, const std::vector<std::string_view>& needs) {
  std::string wanted;
  std::string lacking;
  for (const std::string_view need : needs) {
    wanted += (wanted.empty() ? "" : ", ") + std::string(need);
    if (!has(checks, need)) lacking += (lacking.empty() ? "" : ", ") + std::string(need);
  }
  const std::string kernel = lacking.empty() ? "this kernel has it" : "not found here: " + lacking;
  return {name, false, "not in this version of limpet; would need " + wanted + ": " + kernel};
}

}  // namespace

Datapaths conclude_datapaths(const Checks& checks) {
  return {conclude_rewrite(checks), conclude_absent(checks, "offload", {kNfqueue, "connection tracking", "nat table"}),
          conclude_absent(checks, "route", {kNfqueue, "policy routing"})};
}

Diagnosis diagnose(Backend backend) {
  Diagnosis diagnosis;
  diagnosis.kernel = kernel_release();
  const auto deadline = std::chrono::steady_clock::now() + kWholeLimit;
  const auto sandbox = run_in_sandbox([] { return std::string("in"); }, kProbeLimit);
  if (!sandbox) diagnosis.no_sandbox = sandbox.error();
  for (const Probe& probe : all_probes(backend)) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    Observation seen{CheckStatus::unknown, "not probed: no private network namespace"};
    if (sandbox && left.count() > 0) {
      seen = look(probe, std::min(left, kProbeLimit));
    } else if (sandbox) {
      seen.detail = "not probed: the probes before took too long";
    }
    diagnosis.checks.push_back(judge(probe, std::move(seen)));
  }
  const Checks machine = check_machine();
  diagnosis.checks.insert(diagnosis.checks.end(), machine.begin(), machine.end());
  diagnosis.checks.push_back(check_long_packets(node::read_device_limits()));
  diagnosis.datapaths = conclude_datapaths(diagnosis.checks);
  return diagnosis;
}

std::string_view to_string(CheckStatus status) noexcept {
  switch (status) {
    case CheckStatus::found:
      return "found";
    case CheckStatus::missing:
      return "missing";
    case CheckStatus::unknown:
      return "unknown";
    case CheckStatus::ok:
      return "ok";
    case CheckStatus::attention:
      return "attention";
  }
  return "unknown";
}

}  // namespace limpet::divert
