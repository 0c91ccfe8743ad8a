// diverter.h: put a diversion plan into the kernel, change it, take it out again.
//
//   apply            queues configured (the caller) ─▶ sets ─▶ mangle POSTROUTING, INPUT
//                    ─▶ raw PREROUTING, OUTPUT ─▶ routes
//   remove_requests  routes, raw      no new packet is held
//   remove_replies   mangle, sets     between the two the caller answers what was held
//
// A packet is thus never translated one way while nobody would translate it back. A family (IPv4, IPv6) without
// services gets no rules; one with services that the kernel cannot divert is an error. Every step may be repeated:
// applying twice is applying once, removing nothing is fine. Other programs' rules, sets and routes are not touched;
// nothing is renamed, no base chain is deleted (that would drop every packet that any queue holds), no sysctl is set.
//
// Removal looks for limpet's own names in both variants of iptables, whichever installed them: it needs no memory of
// what was applied, and serves another process's leavings as well. So does apply: what the other variant holds is
// removed.
//
// One thread at a time. Cost: tens of milliseconds a call (other programs are run); update() by sets runs one.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "conntrack/store/result.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/divert/options.h"
#include "lb/divert/rules.h"
#include "lb/divert/sets.h"
#include "lb/divert/xtables.h"

namespace limpet::divert {

class Diverter {
 public:
  /// Errors: configuration (a back-end that is not in this version), unavailable (no iptables installed).
  static store::Result<Diverter> open(const Options& options);

  /// Make the kernel divert this plan, whatever it diverted before.
  store::Result<Warnings> apply(const datapath::DiversionPlan& plan, const RouteSources& sources = {});
  /// The same, given that `from` was applied last: by differences where sets are used. Sets that turn out to differ
  /// from `from`, or to be full, are built anew.
  store::Result<Warnings> update(const datapath::DiversionPlan& from, const datapath::DiversionPlan& to,
                                 const RouteSources& sources = {});

  store::Status remove_requests();
  store::Status remove_replies();

  /// Do rules of limpet's divert packets now, whoever put them there?
  store::Result<bool> diverts() const;

  /// What apply() would feed to ipset and iptables-restore on a clean machine. Pure.
  std::string render(const datapath::DiversionPlan& plan) const;

  /// Which tool carries the rules: "iptables-nft", …; empty before the first apply().
  std::string_view backend() const noexcept;
  /// Are that family's rules looked up in sets? nullopt before it was first applied.
  std::optional<bool> uses_sets(net::Family family) const noexcept {
    const auto& able = able_[index(family)];
    return able ? std::optional(able->sets) : std::nullopt;
  }

 private:
  Diverter(const Options& options, std::vector<Xtables> installed)
      : options_(options), installed_(std::move(installed)) {}

  static std::size_t index(net::Family family) noexcept { return family == net::Family::v4 ? 0 : 1; }
  SetChoice choice(net::Family family, Abilities able) const noexcept;
  store::Status prepare(net::Family family);
  store::Status choose_backend(net::Family family);
  store::Status install(net::Family family, const datapath::DiversionPlan& part);
  store::Status install_table(Table table, net::Family family, const datapath::DiversionPlan& part);
  store::Status update_family(net::Family family, const datapath::DiversionPlan& from,
                              const datapath::DiversionPlan& to);
  bool has_same_rules(net::Family family, const datapath::DiversionPlan& a, const datapath::DiversionPlan& b) const;
  store::Status remove_family(net::Family family);
  store::Status remove_other_variants();
  Warnings finish(const datapath::DiversionPlan& plan, const RouteSources& sources) const;

  Options options_;
  std::vector<Xtables> installed_;
  std::optional<std::size_t> chosen_;             // into installed_
  std::array<std::optional<Abilities>, 2> able_;  // what was found out when the family was first applied
};

}  // namespace limpet::divert
