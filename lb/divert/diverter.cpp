#include "lb/divert/diverter.h"

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
  for (const Family family : kFamilies) {
    const DiversionPlan part = part_of(plan, family);
    const Status done = is_active(part) ? install(family, part) : remove_family(family);
    if (!done) return done.error();
  }
  if (const Status removed = remove_others(); !removed) return removed.error();
  return finish(plan, sources, true);
}

Result<Warnings> Diverter::update(const DiversionPlan& from, const DiversionPlan& to, const RouteSources& sources) {
  for (const Family family : kFamilies) {
    const Status done = update_family(family, part_of(from, family), part_of(to, family));
    if (!done) return done.error();
  }
  return finish(to, sources, is_active(part_of(from, Family::v4)) != is_active(part_of(to, Family::v4)));
}

Status Diverter::remove_requests() {
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

Status Diverter::update_family(Family family, const DiversionPlan& from, const DiversionPlan& to) {
  if (from == to) return store::ok();
  if (!is_active(to)) return remove_family(family);
  if (!is_active(from)) return install(family, to);
  const Status prepared = prepare(family);
  return prepared ? chosen_->update(family, from, to) : prepared;
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

Result<Warnings> Diverter::finish(const DiversionPlan& plan, const RouteSources& sources, bool check_localnet) {
  Warnings warnings = set_vip_routes(plan, sources);
  if (!refusals_.empty()) warnings.push_back(refusals_ + ": diverting with " + chosen_->name() + " instead");
  for (const Family family : kFamilies) {
    if (chosen_ == nullptr || !is_active(part_of(plan, family))) continue;
    for (std::string& warning : chosen_->warnings(family)) warnings.push_back(std::move(warning));
  }
  if (!check_localnet) return warnings;
  if (!options_.localhost_node_ports || !is_active(part_of(plan, Family::v4))) {
    const Status refused = refuse_localnet(rulesets_);
    return refused ? Result<Warnings>(std::move(warnings)) : refused.error();
  }
  const Result<Warnings> admitted = admit_localnet(rulesets_, *chosen_);
  if (!admitted) return admitted.error();
  warnings.insert(warnings.end(), admitted->begin(), admitted->end());
  return warnings;
}

}  // namespace limpet::divert
