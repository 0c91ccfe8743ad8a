#include "lb/divert/iptables_ruleset.h"

#include <utility>

#include "lb/divert/ipset.h"

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using datapath::PlanDelta;
using net::Family;
using store::Error;
using store::ErrorKind;
using store::Result;
using store::Status;

const char* name_of(Family family) noexcept {
  return family == Family::v4 ? "IPv4" : "IPv6";
}

/// Whatever the kernel has of what the rules could use. One transaction where it has all.
Abilities find_abilities(const Xtables& xtables, Family family, const Options& options) {
  const bool all = static_cast<bool>(xtables.probe(
      family, {Feature::socket, Feature::notrack, Feature::icmp, Feature::sctp, Feature::multiport, Feature::frag}));
  const auto has = [&](Feature feature) { return all || xtables.probe(family, feature); };
  return {.sets = options.sets != Sets::never && probe_sets(xtables, family),
          .socket = has(Feature::socket),
          .notrack = has(Feature::notrack),
          .icmp = has(Feature::icmp),
          .sctp = has(Feature::sctp),
          .multiport = has(Feature::multiport),
          .frag = has(Feature::frag)};
}

Error not_filled(const Error& error, const DiversionPlan& part) {
  return {error.kind, "cannot fill the sets with " + std::to_string(part.services.size()) + " destinations and " +
                          std::to_string(part.endpoints.size()) + " endpoints: " + error.message};
}

}  // namespace

bool IptablesRuleset::is_wanted(Backend backend) const noexcept {
  return divert::is_wanted(xtables_.variant(), backend);
}

Status IptablesRuleset::prepare(Family family) {
  auto& able = able_[index(family)];
  if (able) return store::ok();
  for (const Feature feature : {Feature::queue, Feature::mark}) {
    if (const Status probed = xtables_.probe(family, feature); !probed) return probed;
  }
  able = find_abilities(xtables_, family, options_);
  return store::ok();
}

SetChoice IptablesRuleset::choice(Family family, Abilities able) const noexcept {
  return queues_fragments(family, options_, able) ? SetChoice::with_fragments : SetChoice::three;
}

Status IptablesRuleset::install(Family family, const DiversionPlan& part) {
  const Abilities able = *able_[index(family)];
  if (const std::string missing = unmatchable(part, able); !missing.empty()) {
    return Error{ErrorKind::unavailable, std::string("cannot divert ") + name_of(family) +
                                             ": this kernel lacks what matches " + missing +
                                             ", and there are no sets (ipset) in its place"};
  }
  standing_[index(family)].reset();
  const auto present = present_sets(family);
  if (!present) return present.error();
  const SetChoice chosen = choice(family, able);
  if (able.sets) {
    const Status made = restore_sets(render_sets(family, part, chosen, *present));
    if (!made) return not_filled(made.error(), part);
  }
  if (const Status done = install_table(Table::mangle, family, part); !done) return done;
  if (const Status done = install_table(Table::raw, family, part); !done) return done;
  standing_[index(family)] = {rules(Table::mangle, family, part), rules(Table::raw, family, part)};
  return destroy_sets(able.sets ? unchosen_sets(family, chosen, *present) : *present);
}

Status IptablesRuleset::install_table(Table table, Family family, const DiversionPlan& part) {
  const auto present = xtables_.traces(family, table);
  if (!present) return present.error();
  return xtables_.restore(family, render_install(table, family, part, options_, *able_[index(family)], *present));
}

Status IptablesRuleset::update(Family family, const DiversionPlan& to, const PlanDelta& delta) {
  return update_in_place(family, to, delta) ? store::ok() : install(family, to);
}

/// An error if that does not suffice.
Status IptablesRuleset::update_in_place(Family family, const DiversionPlan& to, const PlanDelta& delta) {
  auto& standing = standing_[index(family)];
  const auto& able = able_[index(family)];
  if (!standing || !able || !able->sets) return Error{ErrorKind::runtime, "addresses are rules"};
  const SetChoice chosen = choice(family, *able);
  const std::string added = render_set_additions(family, to, delta, chosen);
  const std::string removed = render_set_removals(family, to, delta, chosen);
  Rules next{rules(Table::mangle, family, to), rules(Table::raw, family, to)};
  if (next.mangle == standing->mangle && next.raw == standing->raw) return restore_sets(added + removed);
  if (const Status done = restore_sets(added); !done) return done;
  for (const Table table : {Table::mangle, Table::raw}) {
    const auto text = table == Table::mangle ? &Rules::mangle : &Rules::raw;
    if (next.*text == (*standing).*text) continue;
    if (const Status done = install_table(table, family, to); !done) return done;
  }
  *standing = std::move(next);
  return restore_sets(removed);
}

std::string IptablesRuleset::rules(Table table, Family family, const DiversionPlan& part) const {
  return render_install(table, family, part, options_, *able_[index(family)], {});
}

Status IptablesRuleset::remove(Family family, Stage stage) {
  standing_[index(family)].reset();
  return xtables_.remove(family, stage == Stage::requests ? Table::raw : Table::mangle);
}

Result<bool> IptablesRuleset::diverts(Family family) const {
  for (const Table table : {Table::raw, Table::mangle}) {
    const auto present = xtables_.traces(family, table);
    if (!present && present.error().kind != ErrorKind::unavailable) return present.error();
    if (present && !present->jumps.empty()) return true;
  }
  return false;
}

Result<bool> IptablesRuleset::guards() const {
  const auto present = xtables_.traces(Family::v4, Table::raw);
  if (!present && present.error().kind != ErrorKind::unavailable) return present.error();
  return present && present->guard;
}

Status IptablesRuleset::guard() {
  const auto present = xtables_.traces(Family::v4, Table::raw);
  return present ? xtables_.restore(Family::v4, render_guard(*present)) : Status(present.error());
}

Status IptablesRuleset::unguard() {
  const auto present = xtables_.traces(Family::v4, Table::raw);
  return present ? xtables_.restore(Family::v4, render_guard_removal(*present)) : Status(present.error());
}

Warnings IptablesRuleset::warnings(Family family) const {
  Warnings found;
  const auto& able = able_[index(family)];
  if (!able) return found;
  if (!able->socket && !queues_fragments(family, options_, *able)) {
    found.push_back(std::string("this kernel has neither a socket match nor a frag match for ") + name_of(family) +
                    ": fragmented datagrams are lost unless connection tracking is in use");
  }
  if (!able->icmp) {
    found.push_back(std::string("this kernel has no ICMP match for ") + name_of(family) +
                    " rules: ICMP errors pass untranslated, path-MTU discovery through a VIP fails");
  }
  return found;
}

std::optional<bool> IptablesRuleset::uses_sets(Family family) const noexcept {
  const auto& able = able_[index(family)];
  return able ? std::optional(able->sets) : std::nullopt;
}

std::string IptablesRuleset::render(Family family, const DiversionPlan& part) const {
  const Abilities able{.sets = options_.sets != Sets::never,
                       .socket = true,
                       .notrack = true,
                       .icmp = true,
                       .sctp = true,
                       .multiport = true,
                       .frag = true};
  std::string text;
  if (able.sets) text += "# ipset restore\n" + render_sets(family, part, choice(family, able), {});
  for (const Table table : {Table::mangle, Table::raw}) {
    text += std::string("# ") + (family == Family::v4 ? "iptables" : "ip6tables") + "-restore --noflush\n" +
            render_install(table, family, part, options_, able, {});
  }
  return text;
}

}  // namespace limpet::divert
