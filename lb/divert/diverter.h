// diverter.h: put a diversion plan into the kernel, change it, take it out again.
//
//   apply            queues configured (the caller) ─▶ sets ─▶ POSTROUTING, INPUT ─▶ PREROUTING, OUTPUT ─▶ routes
//   remove_requests  routes, PREROUTING, OUTPUT     no new packet is held
//   remove_replies   POSTROUTING, INPUT, sets       between the two the caller answers what was held
//
// A packet is thus never translated one way while nobody would translate it back. A family (IPv4, IPv6) without
// services gets no rules; one with services that the kernel cannot divert is an error. Every step may be repeated:
// applying twice is applying once, removing nothing is fine. Other programs' rules, sets and routes are not touched;
// nothing is renamed. One sysctl is set, if that is asked for, and set back (localnet.h).
//
// By which back-end is chosen when first needed (ruleset.h, Options::backend); why another one that was to be preferred
// does not do is among the warnings. Removal looks for limpet's own names in
// all of them, whichever installed them: it needs no memory of what was applied, and serves another process's leavings
// as well. So does apply: what the others hold is removed.
//
// One thread at a time. Cost: tens of milliseconds a call (other programs are run); update() by sets runs one.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "conntrack/store/result.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/divert/options.h"
#include "lb/divert/ruleset.h"

namespace limpet::divert {

class Diverter {
 public:
  /// Errors: unavailable (no tool of a wanted back-end installed).
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

  /// What apply() would feed to the tools of the first wanted back-end on a clean machine. Pure.
  std::string render(const datapath::DiversionPlan& plan) const;

  /// Which back-end carries the rules: "iptables-nft", "nft", …; empty before the first apply().
  std::string_view backend() const noexcept;
  /// Are that family's rules looked up in sets? nullopt before it was first applied.
  std::optional<bool> uses_sets(net::Family family) const noexcept;

 private:
  Diverter(const Options& options, std::vector<std::unique_ptr<Ruleset>> rulesets)
      : options_(options), rulesets_(std::move(rulesets)) {}

  store::Status prepare(net::Family family);
  store::Status install(net::Family family, const datapath::DiversionPlan& part);
  store::Status update_family(net::Family family, const datapath::DiversionPlan& from,
                              const datapath::DiversionPlan& to);
  store::Status remove_family(net::Family family);
  store::Status remove_others();
  store::Result<Warnings> finish(const datapath::DiversionPlan& plan, const RouteSources& sources, bool check_localnet);

  Options options_;
  std::vector<std::unique_ptr<Ruleset>> rulesets_;  // all that are installed, the preferred first
  Ruleset* chosen_ = nullptr;                       // one of them
  std::string refusals_;                            // why not one that was preferred
};

}  // namespace limpet::divert
