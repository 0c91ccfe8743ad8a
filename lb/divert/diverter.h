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
// It remembers the plan that it was given last, so that a change costs what it changes:
//
//   update(plan)     the difference is found: one pass over both plans, then as change()
//   change(delta)    elements of sets that come and go, in one run of ipset or nft. Rules are written only where they
//                    differ: a family appears, a list outgrows those that are spelled out as rules. No set is written
//                    again but one that is full, then twice as large
//
// After a call that failed it is not known what stands in the kernel: in_doubt(); the next call writes the whole plan.
//
// Others write into the kernel, too, and flush. drift() tells what of limpet's is no longer as it was put there (drift.h
// says how, and what is not seen), repair() puts back what that was, and nothing else.
//
// Replies of connections whose endpoint has left must still be diverted: what to keep for them is the caller's business
// (lb/datapath/lingering.h).
//
// One thread at a time. Cost: tens of milliseconds a call (other programs are run); a change by sets runs one.
#pragma once

#include <array>
#include <cstddef>
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
  /// The same, by differences. Also when nothing differs: a VIP may have lost the route that local clients took to it.
  store::Result<Warnings> update(const datapath::DiversionPlan& plan, const RouteSources& sources = {});
  /// The same, by a change of the plan alone: nothing has changed on the node. Warnings are those of what was added.
  store::Result<Warnings> change(const datapath::PlanDelta& delta);
  /// Nothing was applied yet, or the last call failed half-way.
  bool in_doubt() const noexcept { return in_doubt_; }

  /// What somebody else has changed. Nothing while in doubt: then it is not known what is to be there.
  store::Result<Drift> drift();
  /// Undo it. An error leaves the rules in doubt.
  store::Status repair(const Drift& drift);

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
  using Deltas = std::array<datapath::PlanDelta, 2>;  // a family each

  Diverter(const Options& options, std::vector<std::unique_ptr<Ruleset>> rulesets)
      : options_(options), rulesets_(std::move(rulesets)) {}

  store::Status prepare(net::Family family);
  store::Status install(net::Family family, const datapath::DiversionPlan& part);
  store::Result<Warnings> write_all();
  store::Result<Warnings> carry_out(const Deltas& deltas, bool node_changed);
  store::Status update_family(net::Family family, bool was_active, const datapath::PlanDelta& delta);
  store::Status remove_family(net::Family family);
  store::Status remove_others();
  std::vector<net::Address> all_vips() const;
  store::Result<Warnings> finish(Warnings warnings, bool check_localnet);
  store::Result<Warnings> settle_localnet();
  const datapath::DiversionPlan& wanted(net::Family family) const noexcept { return wanted_[index(family)]; }
  static std::size_t index(net::Family family) noexcept { return family == net::Family::v4 ? 0 : 1; }

  Options options_;
  std::vector<std::unique_ptr<Ruleset>> rulesets_;  // all that are installed, the preferred first
  Ruleset* chosen_ = nullptr;                       // one of them
  std::string refusals_;                            // why not one that was preferred
  std::array<datapath::DiversionPlan, 2> wanted_;   // what the kernel is to divert, a family each
  RouteSources sources_;
  bool in_doubt_ = true;
};

}  // namespace limpet::divert
