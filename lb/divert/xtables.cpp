#include "lb/divert/xtables.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <optional>
#include <utility>

#include "lb/divert/command.h"
#include "lb/divert/rules.h"
#include "lb/divert/sets.h"

namespace limpet::divert {

namespace {

using net::Family;
using store::Result;
using store::Status;

/// Which variant a tool of that name is; nullopt if it is not installed.
std::optional<Variant> variant_of(const std::string& name) {
  const auto outcome = run({name + "-restore", "--version"});
  if (!outcome || !outcome->ok()) return std::nullopt;
  return outcome->out.find("nf_tables") != std::string::npos ? Variant::nft : Variant::legacy;
}

/// Does the legacy table exist in this network namespace? Unknown (no permission to look) counts as yes.
bool legacy_table_exists(Family family, Table table) {
  std::ifstream names(family == Family::v4 ? "/proc/net/ip_tables_names" : "/proc/net/ip6_tables_names");
  if (!names) return errno != ENOENT;
  std::string name;
  while (names >> name) {
    if (name == to_string(table)) return true;
  }
  return false;
}

Table table_of(Feature feature) noexcept {
  return feature == Feature::mark ? Table::mangle : Table::raw;
}

std::string probe_rule(Family family, Feature feature) {
  const std::string queue = " -j NFQUEUE --queue-num 0 --queue-bypass";
  switch (feature) {
    case Feature::queue:
      return queue;
    case Feature::mark:
      return " -m mark --mark 0x1/0x1" + queue;
    case Feature::set:
      return " -m set --match-set " + std::string(kProbeSet) + " dst,dst";
    case Feature::socket:
      return defragmenting_match(family);
    case Feature::notrack:
      return " -m mark --mark 0x1/0x1 -j CT --notrack";
    case Feature::icmp:
      return family == Family::v4 ? " -p icmp -m icmp --icmp-type 3" : " -p ipv6-icmp -m icmp6 --icmpv6-type 1";
    case Feature::sctp:
      return " -p sctp -m sctp --dport 1";
    case Feature::multiport:
      return " -p udplite -m multiport --dports 1";
    case Feature::frag:
      return family == Family::v4 ? " -f" : " -m frag --fragfirst";
  }
  return {};
}

}  // namespace

bool is_wanted(Variant variant, Backend backend) noexcept {
  switch (backend) {
    case Backend::automatic:
    case Backend::iptables:
      return true;
    case Backend::iptables_nft:
      return variant == Variant::nft;
    case Backend::iptables_legacy:
      return variant == Variant::legacy;
    case Backend::nft:
      break;
  }
  return false;
}

std::vector<Xtables> Xtables::installed() {
  std::vector<Xtables> found;
  for (const char* name : {"iptables-nft", "iptables-legacy"}) {
    if (const auto variant = variant_of(name)) found.push_back(Xtables(*variant, name));
  }
  if (const auto standard = variant_of("iptables")) {
    const auto same =
        std::find_if(found.begin(), found.end(), [&](const Xtables& x) { return x.variant_ == *standard; });
    if (same == found.end()) {
      found.insert(found.begin(), Xtables(*standard, "iptables"));
    } else {
      std::rotate(found.begin(), same, same + 1);
    }
  }
  return found;
}

std::string Xtables::tool(Family family, const char* suffix) const {
  // iptables-nft → ip6tables-nft
  return (family == Family::v4 ? name_ : "ip6" + name_.substr(2)) + suffix;
}

/// Empty where there is no such table.
Result<std::string> Xtables::save(Family family, Table table) const {
  if (variant_ == Variant::legacy && !legacy_table_exists(family, table)) return std::string();
  const std::string program = tool(family, "-save");
  auto outcome = run({program, "-t", std::string(to_string(table))});
  if (!outcome) return outcome.error();
  if (!outcome->ok()) return failure(program, *outcome);
  return std::move(outcome->out);
}

Result<Traces> Xtables::traces(Family family, Table table) const {
  const auto saved = save(family, table);
  return saved ? find_traces(*saved) : Result<Traces>(saved.error());
}

Result<Standing> Xtables::standing(Family family, Table table) const {
  const auto saved = save(family, table);
  return saved ? find_standing(table, *saved) : Result<Standing>(saved.error());
}

Status Xtables::restore(Family family, const std::string& transaction) const {
  const std::string program = tool(family, "-restore");
  const auto outcome = run({program, "-w", "5", "--noflush"}, transaction);
  if (!outcome) return outcome.error();
  return outcome->ok() ? store::ok() : failure(program, *outcome);
}

Status Xtables::probe(Family family, std::initializer_list<Feature> features) const {
  const std::string chain(kProbeChain);
  // Declaring a chain flushes it, too: what a probe that was cut short left does not matter.
  const std::string head = "*" + std::string(to_string(table_of(*features.begin()))) + "\n:" + chain + " - [0:0]\n";
  std::string rules;
  for (const Feature feature : features) rules += "-A " + chain + probe_rule(family, feature) + "\n";
  const Status added = restore(family, head + rules + "COMMIT\n");
  return added ? restore(family, head + "-X " + chain + "\nCOMMIT\n") : added;
}

Status Xtables::remove(Family family, Table table) const {
  const auto present = traces(family, table);
  // Where the table cannot even be shown, for want of a tool or of the kernel's part, there are no rules of ours.
  if (!present && present.error().kind == store::ErrorKind::unavailable) return store::ok();
  if (!present) return present.error();
  return present->empty() ? store::ok() : restore(family, render_removal(table, *present));
}

}  // namespace limpet::divert
