#include "lb/divert/diverter.h"

#include <iterator>
#include <utility>

#include "lb/divert/ipset.h"
#include "lb/divert/iptables_ruleset.h"
#include "lb/divert/localnet.h"
#include "lb/divert/nft_ruleset.h"
#include "lb/divert/plan_parts.h"
#include "lb/divert/vip_routes.h"

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using datapath::PlanDelta;
using net::Family;
using store::Error;
using store::ErrorKind;
using store::Result;
using store::Status;

constexpr Family kFamilies[] = {Family::v4, Family::v6};
constexpr Stage kStages[] = {Stage::requests, Stage::replies};

const char* name_of(Family family) noexcept {
  return family == Family::v4 ? "IPv4" : "IPv6";
}

/// Removal goes on after an error, and reports the first.
void keep_first(Status& first, Status next) {
  if (first && !next) first = std::move(next);
}

}  // namespace

Result<Diverter> Diverter::open(const Options& options) {
  std::vector<std::unique_ptr<Ruleset>> rulesets;
  for (Xtables& xtables : Xtables::installed()) {
    rulesets.push_back(std::make_unique<IptablesRuleset>(std::move(xtables), options));
  }
  const bool has_iptables = !rulesets.empty();
  rulesets.push_back(std::make_unique<NftRuleset>(options));
  const bool may_use_nft = rulesets.back()->is_wanted(options.backend);
  if (!has_iptables && (!may_use_nft || !NftRuleset::is_installed())) {
    return Error{ErrorKind::unavailable, "iptables-restore: not installed; install the package iptables"};
  }
  return Diverter(options, std::move(rulesets));
}

std::string_view Diverter::backend() const noexcept {
  return chosen_ != nullptr ? std::string_view(chosen_->name()) : "";
}

std::optional<bool> Diverter::uses_sets(Family family) const noexcept {
  return chosen_ != nullptr ? chosen_->uses_sets(family) : std::nullopt;
}

Result<Warnings> Diverter::apply(const DiversionPlan& plan, const RouteSources& sources) {
  for (const Family family : kFamilies) wanted_[index(family)] = part_of(plan, family);
  sources_ = sources;
  return write_all();
}

Result<Warnings> Diverter::update(const DiversionPlan& plan, const RouteSources& sources) {
  if (in_doubt_) return apply(plan, sources);
  Deltas deltas;
  for (const Family family : kFamilies) {
    deltas[index(family)] = difference(wanted(family), part_of(plan, family));
  }
  sources_ = sources;
  return carry_out(deltas, true);
}

Result<Warnings> Diverter::change(const PlanDelta& delta) {
  Deltas deltas;
  for (const Family family : kFamilies) deltas[index(family)] = needed(part_of(delta, family), wanted(family));
  return carry_out(deltas, false);
}

Result<Warnings> Diverter::write_all() {
  in_doubt_ = true;
  for (const Family family : kFamilies) {
    const Status done = is_active(wanted(family)) ? install(family, wanted(family)) : remove_family(family);
    if (!done) return done.error();
  }
  if (const Status removed = remove_others(); !removed) return removed.error();
  return finish(set_vip_routes(all_vips(), sources_), true);
}

Result<Warnings> Diverter::carry_out(const Deltas& deltas, bool node_changed) {
  std::array<bool, 2> was_active{};
  bool locals_changed = false;
  for (const Family family : kFamilies) {
    const PlanDelta& delta = deltas[index(family)];
    was_active[index(family)] = is_active(wanted(family));
    locals_changed = locals_changed || !delta.added.locals.empty() || !delta.removed.locals.empty();
    amend(wanted_[index(family)], delta);
  }
  if (in_doubt_) return write_all();
  in_doubt_ = true;
  Warnings warnings;
  for (const Family family : kFamilies) {
    const PlanDelta& delta = deltas[index(family)];
    const Status done = update_family(family, was_active[index(family)], delta);
    if (!done) return done.error();
    if (node_changed || locals_changed) continue;
    for (std::string& warning : change_vip_routes(vips_delta(wanted(family), delta), sources_)) {
      warnings.push_back(std::move(warning));
    }
  }
  if (node_changed || locals_changed) warnings = set_vip_routes(all_vips(), sources_);
  return finish(std::move(warnings), was_active[index(Family::v4)] != is_active(wanted(Family::v4)));
}

std::vector<net::Address> Diverter::all_vips() const {
  std::vector<net::Address> all = vips(wanted(Family::v4));
  for (net::Address& vip : vips(wanted(Family::v6))) all.push_back(vip);
  return all;
}

Result<Drift> Diverter::drift() {
  Drift all;
  for (const Family family : kFamilies) {
    if (in_doubt_ || !is_active(wanted(family))) continue;
    auto found = chosen_->drift(family, wanted(family));
    if (!found) return found.error();
    all.rules = all.rules || found->rules;
    all.sets = all.sets || found->sets;
    std::move(found->what.begin(), found->what.end(), std::back_inserter(all.what));
  }
  return all;
}

Status Diverter::repair(const Drift& drift) {
  if (!drift || in_doubt_) return store::ok();
  in_doubt_ = true;
  for (const Family family : kFamilies) {
    if (!is_active(wanted(family))) continue;
    if (const Status done = chosen_->repair(family, wanted(family), drift); !done) return done;
  }
  in_doubt_ = false;
  return store::ok();
}

Status Diverter::remove_requests() {
  in_doubt_ = true;
  Status first = remove_vip_routes();
  for (const auto& ruleset : rulesets_) {
    for (const Family family : kFamilies) keep_first(first, ruleset->remove(family, Stage::requests));
  }
  return first;
}

Status Diverter::remove_replies() {
  Status first = store::ok();
  for (const auto& ruleset : rulesets_) {
    for (const Family family : kFamilies) keep_first(first, ruleset->remove(family, Stage::replies));
  }
  for (const Family family : kFamilies) keep_first(first, destroy_sets(family));
  keep_first(first, refuse_localnet(rulesets_));
  return first;
}

Result<bool> Diverter::diverts() const {
  for (const auto& ruleset : rulesets_) {
    for (const Family family : kFamilies) {
      const Result<bool> found = ruleset->diverts(family);
      if (!found || *found) return found;
    }
  }
  return false;
}

std::string Diverter::render(const DiversionPlan& plan) const {
  std::string text;
  for (const auto& ruleset : rulesets_) {
    if (!ruleset->is_wanted(options_.backend)) continue;
    for (const Family family : kFamilies) {
      const DiversionPlan part = part_of(plan, family);
      if (is_active(part)) text += ruleset->render(family, part);
    }
    break;
  }
  return text;
}

/// The first wanted back-end by which the kernel diverts. Both families use the same one.
Status Diverter::prepare(Family family) {
  std::optional<Error> refused;
  for (const auto& ruleset : rulesets_) {
    if (chosen_ != nullptr ? chosen_ != ruleset.get() : !ruleset->is_wanted(options_.backend)) continue;
    const Status prepared = ruleset->prepare(family);
    if (prepared) {
      if (chosen_ == nullptr && refused) refusals_ = refused->message;
      chosen_ = ruleset.get();
      return store::ok();
    }
    if (!refused) {
      refused = prepared.error();
    } else {
      refused->message += "; " + prepared.error().message;
    }
    if (refused->kind == ErrorKind::permission) break;  // nor would the others be allowed
  }
  if (!refused) refused = Error{ErrorKind::unavailable, "the wanted back-end is not installed"};
  return Error{refused->kind, std::string("cannot divert ") + name_of(family) + ": " + refused->message};
}

Status Diverter::install(Family family, const DiversionPlan& part) {
  const Status prepared = prepare(family);
  return prepared ? chosen_->install(family, part) : prepared;
}

Status Diverter::update_family(Family family, bool was_active, const PlanDelta& delta) {
  if (delta.empty()) return store::ok();
  if (!is_active(wanted(family))) return remove_family(family);
  if (!was_active) return install(family, wanted(family));
  const Status prepared = prepare(family);
  return prepared ? chosen_->update(family, wanted(family), delta) : prepared;
}

Status Diverter::remove_family(Family family) {
  Status first = store::ok();
  for (const Stage stage : kStages) {
    for (const auto& ruleset : rulesets_) keep_first(first, ruleset->remove(family, stage));
  }
  keep_first(first, destroy_sets(family));
  return first;
}

Status Diverter::remove_others() {
  for (const auto& ruleset : rulesets_) {
    if (ruleset.get() == chosen_) continue;
    for (const Stage stage : kStages) {
      for (const Family family : kFamilies) {
        if (const Status removed = ruleset->remove(family, stage); !removed) return removed;
      }
    }
  }
  // The variants of iptables share their sets: the one that is chosen has dealt with them.
  if (chosen_ != nullptr && !chosen_->is_wanted(Backend::nft)) return store::ok();
  for (const Family family : kFamilies) {
    if (const Status destroyed = destroy_sets(family); !destroyed) return destroyed;
  }
  return store::ok();
}

/// What remains of a change once rules, sets and routes are in place.
Result<Warnings> Diverter::finish(Warnings warnings, bool check_localnet) {
  if (!refusals_.empty()) warnings.push_back(refusals_ + ": diverting with " + chosen_->name() + " instead");
  for (const Family family : kFamilies) {
    if (chosen_ == nullptr || !is_active(wanted(family))) continue;
    for (std::string& warning : chosen_->warnings(family)) warnings.push_back(std::move(warning));
  }
  if (check_localnet) {
    const Result<Warnings> settled = settle_localnet();
    if (!settled) return settled.error();
    warnings.insert(warnings.end(), settled->begin(), settled->end());
  }
  in_doubt_ = false;
  return warnings;
}

Result<Warnings> Diverter::settle_localnet() {
  if (options_.localhost_node_ports && is_active(wanted(Family::v4))) return admit_localnet(rulesets_, *chosen_);
  const Status refused = refuse_localnet(rulesets_);
  return refused ? Result<Warnings>(Warnings{}) : refused.error();
}

}  // namespace limpet::divert
