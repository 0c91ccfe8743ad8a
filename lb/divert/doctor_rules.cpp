#include "lb/divert/doctor_rules.h"

#include <cerrno>
#include <cstring>
#include <string>

#include <netinet/in.h>
#include <sys/socket.h>

#include "lb/divert/command.h"
#include "lb/divert/doctor_descriptor.h"
#include "lb/divert/ipset.h"
#include "lb/divert/nft_command.h"
#include "lb/divert/nft_rules.h"

namespace limpet::divert {

namespace {

using net::Family;
using store::Status;

Observation observe(const Status& status, std::string found) {
  if (status) return {CheckStatus::found, std::move(found)};
  // Without the right to ask nothing is known.
  const bool known = status.error().kind != store::ErrorKind::permission;
  return {known ? CheckStatus::missing : CheckStatus::unknown, status.error().message};
}

struct Rule {
  const char* table;
  std::string words;
};

/// Those of Xtables::probe have rules of their own.
Rule rule_of(Extension extension, Family family) {
  switch (extension) {
    case Extension::notrack:
      return {"raw", "-j CT --notrack"};
    case Extension::icmp:
      return {"raw", family == Family::v4 ? "-p icmp -m icmp --icmp-type 3" : "-p ipv6-icmp -m icmp6 --icmpv6-type 1"};
    case Extension::sctp:
      return {"raw", "-p sctp -m sctp --dport 1"};
    case Extension::multiport:
      return {"raw", "-p udplite -m multiport --dports 1"};
    case Extension::frag:
      return {"raw", family == Family::v4 ? "-f" : "-m frag --fragfirst"};
    case Extension::comment:
      return {"raw", "-m comment --comment \"two words\""};
    case Extension::state:
      return {"mangle", "-m conntrack --ctstate NEW"};
    case Extension::dnat:
      return {"nat",
              "-p tcp -j DNAT --to-destination " + std::string(family == Family::v4 ? "192.0.2.1" : "2001:db8::1")};
    case Extension::recent:
      return {"mangle", "-m recent --name LIMPET-PROBE --set"};
    case Extension::statistic:
      return {"mangle", "-m statistic --mode random --probability 0.5"};
    case Extension::sets:
    case Extension::socket:
      break;
  }
  return {"raw", ""};
}

Status try_extension(const Xtables& tools, Family family, Extension extension) {
  if (extension == Extension::sets) return probe_sets(tools, family);
  if (extension == Extension::socket) return tools.probe(family, Feature::socket);
  const Rule rule = rule_of(extension, family);
  const std::string chain(kProbeChain);
  return tools.restore(family, "*" + std::string(rule.table) + "\n:" + chain + " - [0:0]\n-A " + chain + " " +
                                   rule.words + "\nCOMMIT\n");
}

void append(std::string& list, const std::string& words) {
  list += (list.empty() ? "" : "; ") + words;
}

Observation probe_nft_rules(const std::string& v4, const std::string& v6) {
  const auto table = [](const char* family, const std::string& rule) {
    return std::string("table ") + family +
           " limpet-probe { chain rules { type filter hook prerouting priority -300; " + rule + "; }; }\n";
  };
  return observe(nft(table("ip", v4) + table("ip6", v6)), "IPv4 and IPv6");
}

}  // namespace

Observation probe_backend(const Xtables& tools, Family family) {
  const Status queue = tools.probe(family, Feature::queue);
  if (!queue) return observe(queue, "");
  return observe(tools.probe(family, Feature::mark), "raw and mangle tables, NFQUEUE target, mark match");
}

Observation probe_nft_queue() {
  for (const char* family : {"ip", "ip6"}) {
    const std::string head = std::string("table ") + family + " limpet-probe { chain ";
    // Without `queue` first: what fails then is not for want of it.
    const Status chains = nft(head + "plain { type filter hook prerouting priority -300; }; }\n");
    if (!chains) return observe(chains, "");
    const Status queue = nft(head + "queued { queue num 0 bypass; }; }\n");
    if (!queue) {
      Observation seen = observe(queue, "");
      seen.detail = "tables and chains are there, the statement is not: " + seen.detail;
      return seen;
    }
  }
  return {CheckStatus::found, "IPv4 and IPv6"};
}

Observation probe_nft_tproxy() {
  return probe_nft_rules(nft_defragmenting_rule(Family::v4), nft_defragmenting_rule(Family::v6));
}

Observation probe_nft_notrack() {
  return probe_nft_rules("notrack", "notrack");
}

Observation probe_extension(const std::vector<Xtables>& installed, Extension extension) {
  if (installed.empty()) return {CheckStatus::unknown, "no iptables installed to ask with"};
  std::string having;
  std::string lacking;
  bool complete = false;
  for (const Xtables& tools : installed) {
    const Status v4 = try_extension(tools, Family::v4, extension);
    const Status v6 = try_extension(tools, Family::v6, extension);
    complete = complete || (v4 && v6);
    if (v4 || v6) append(having, tools.name() + (v4 && v6 ? "" : v4 ? " for IPv4" : " for IPv6"));
    // Where both fail it is for one reason.
    if (!v4) append(lacking, v4.error().message);
    if (v4 && !v6) append(lacking, v6.error().message);
  }
  if (complete) return {CheckStatus::found, having};
  if (!having.empty()) return {CheckStatus::attention, "only " + having + "; else " + lacking};
  return {CheckStatus::missing, lacking};
}

Observation probe_nft_map() {
  return observe(nft("table ip limpet-probe { chain nat { type nat hook prerouting priority -100; "
                     "dnat to meta mark map { 0x00000001 : 192.0.2.1 }; }; }\n"),
                 "dnat to meta mark map {…}");
}

Observation probe_policy_routing() {
  for (const char* family : {"-4", "-6"}) {
    const auto outcome = run({"ip", family, "rule", "add", "fwmark", "0x1000/0x1000", "table", "100"});
    if (!outcome) return observe(outcome.error(), "");
    if (!outcome->ok()) return observe(failure(std::string("ip ") + family + " rule", *outcome), "");
  }
  return {CheckStatus::found, "ip rule … fwmark, IPv4 and IPv6"};
}

Observation probe_raw_sockets() {
  for (const int family : {AF_INET, AF_INET6}) {
    const Descriptor raw(::socket(family, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW));
    const int mark = 0x1000;
    const bool good = raw.valid() && ::setsockopt(raw.get(), SOL_SOCKET, SO_MARK, &mark, sizeof mark) == 0;
    if (!good) {
      return {CheckStatus::missing, std::string(family == AF_INET ? "IPv4: " : "IPv6: ") + std::strerror(errno)};
    }
  }
  return {CheckStatus::found, "IPv4 and IPv6, with a mark"};
}

}  // namespace limpet::divert
