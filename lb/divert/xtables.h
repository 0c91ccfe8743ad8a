// xtables.h: the iptables tools of one variant, IPv4 and IPv6, and what the kernel can do through them.
//
//   nft      iptables-nft-restore, -save       rules live in nf_tables, matches and targets through its
//                                              compatibility layer
//   legacy   iptables-legacy-restore, -save    rules live in ip_tables
//
// Each program call is one transaction on one table of one family. The two variants do not see each other's rules:
// clean-up looks at both. Reading the legacy variant creates the table in the kernel, with its hooks, so it is read
// only where /proc/net/ip_tables_names shows that the table exists.
//
// Features are probed by doing: a rule in an unreferenced chain, LIMPET-PROBE, removed again. Each alone, since one
// unknown match makes a whole transaction fail.
#pragma once

#include <initializer_list>
#include <string>
#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/result.h"
#include "lb/divert/options.h"
#include "lb/divert/traces.h"

namespace limpet::divert {

enum class Variant { nft, legacy };

/// Is it one of those that were asked for?
bool is_wanted(Variant variant, Backend backend) noexcept;

enum class Feature {
  queue,      // raw table, NFQUEUE target
  mark,       // mangle table, NFQUEUE target, mark match
  set,        // set match; kProbeSet (sets.h) must exist
  socket,     // socket match
  notrack,    // CT target, mark match in raw
  icmp,       // icmp, icmp6 match
  sctp,       // sctp match
  multiport,  // multiport match, for UDP-Lite
  frag,       // IPv6: frag match; IPv4: -f, which every kernel has
};

class Xtables {
 public:
  /// Those that are installed; the one that plain `iptables` stands for comes first.
  static std::vector<Xtables> installed();

  Variant variant() const noexcept { return variant_; }
  /// "iptables-nft", …
  const std::string& name() const noexcept { return name_; }

  /// What of limpet's stands in the table. Never creates the table.
  store::Result<Traces> traces(net::Family family, Table table) const;
  /// How it stands there. Never creates the table.
  store::Result<Standing> standing(net::Family family, Table table) const;
  /// One transaction. Errors carry the tool's words.
  store::Status restore(net::Family family, const std::string& transaction) const;
  /// Ok if the kernel accepts a rule with each of the features, which are of one table.
  store::Status probe(net::Family family, std::initializer_list<Feature> features) const;
  store::Status probe(net::Family family, Feature feature) const { return probe(family, {feature}); }
  /// Remove what of limpet's stands in the table, the guard excepted.
  store::Status remove(net::Family family, Table table) const;

 private:
  Xtables(Variant variant, std::string name) : variant_(variant), name_(std::move(name)) {}
  std::string tool(net::Family family, const char* suffix) const;
  store::Result<std::string> save(net::Family family, Table table) const;

  Variant variant_;
  std::string name_;
};

}  // namespace limpet::divert
