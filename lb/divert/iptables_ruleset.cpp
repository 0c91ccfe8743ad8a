#include "lb/divert/iptables_ruleset.h"

#include <iterator>
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
  return queues_fragments(family, options_, able) ? SetChoice::with_fragments : SetChoice::usual;
}

Status IptablesRuleset::install(Family family, const DiversionPlan& part) {
  const Abilities able = *able_[index(family)];
  if (const std::string missing = unmatchable(part, able); !missing.empty()) {
    return Error{ErrorKind::unavailable, std::string("cannot divert ") + name_of(family) +
                                             ": this kernel lacks what matches " + missing +
                                             ", and there are no sets (ipset) in its place"};
  }
  written_[index(family)].reset();
  const auto present = present_sets(family);
  if (!present) return present.error();
  if (const Status done = fill_sets(family, part, *present); !done) return done;
  if (const Status done = write_rules(family, part); !done) return done;
  return destroy_sets(able.sets ? unchosen_sets(family, choice(family, able), *present) : *present);
}

Status IptablesRuleset::fill_sets(Family family, const DiversionPlan& part,
                                  const std::vector<std::string>& present) const {
  const Abilities able = *able_[index(family)];
  if (!able.sets) return store::ok();
  const Status made = restore_sets(render_sets(family, part, choice(family, able), present));
  return made ? made : not_filled(made.error(), part);
}

Status IptablesRuleset::write_rules(Family family, const DiversionPlan& part) {
  written_[index(family)].emplace();
  for (const Table table : {Table::mangle, Table::raw}) {
    const Status done = install_table(table, family, part);
    if (done) continue;
    written_[index(family)].reset();
    return done;
  }
  return store::ok();
}

/// Of a family that has a Written, which it keeps up with.
Status IptablesRuleset::install_table(Table table, Family family, const DiversionPlan& part) {
  const auto present = xtables_.traces(family, table);
  if (!present) return present.error();
  const Status done =
      xtables_.restore(family, render_install(table, family, part, options_, *able_[index(family)], *present));
  if (!done) return done;
  auto seen = xtables_.standing(family, table);
  if (!seen) return seen.error();
  Written& written = *written_[index(family)];
  written.rules[index(table)] = rules(table, family, part);
  written.seen[index(table)] = std::move(*seen);
  written.generation.reset();
  return store::ok();
}

Status IptablesRuleset::update(Family family, const DiversionPlan& to, const PlanDelta& delta) {
  return update_in_place(family, to, delta) ? store::ok() : install(family, to);
}

/// An error if that does not suffice.
Status IptablesRuleset::update_in_place(Family family, const DiversionPlan& to, const PlanDelta& delta) {
  const auto& written = written_[index(family)];
  const auto& able = able_[index(family)];
  if (!written || !able || !able->sets) return Error{ErrorKind::runtime, "addresses are rules"};
  const SetChoice chosen = choice(family, *able);
  std::string added = render_set_additions(family, to, delta, chosen);
  const std::string removed = render_set_removals(family, to, delta, chosen);
  std::vector<Table> stale;
  for (const Table table : {Table::mangle, Table::raw}) {
    if (rules(table, family, to) != written->rules[index(table)]) stale.push_back(table);
  }
  if (stale.empty()) return restore_sets(added + removed);
  if (const Status done = restore_sets(added); !done) return done;
  for (const Table table : stale) {
    if (const Status done = install_table(table, family, to); !done) return done;
  }
  return restore_sets(removed);
}

Result<Drift> IptablesRuleset::drift(Family family, const DiversionPlan& part) {
  Drift found;
  if (!written_[index(family)]) return found;
  if (const Status looked = look_at_rules(family, found); !looked) return looked.error();
  found.rules = !found.what.empty();
  if (const Abilities able = *able_[index(family)]; able.sets) {
    const auto listed = list_sets();
    if (!listed) return listed.error();
    std::vector<std::string> sets = find_set_drift(family, part, choice(family, able), *listed);
    found.sets = !sets.empty();
    std::move(sets.begin(), sets.end(), std::back_inserter(found.what));
  }
  return found;
}

Status IptablesRuleset::look_at_rules(Family family, Drift& found) {
  Written& written = *written_[index(family)];
  std::optional<std::uint32_t> generation;
  if (xtables_.variant() == Variant::nft) generation = nft_generation();
  if (generation && generation == written.generation) return store::ok();
  for (const Table table : {Table::raw, Table::mangle}) {
    const auto now = xtables_.standing(family, table);
    if (!now) return now.error();
    const bool guard = guards_ && family == Family::v4 && table == Table::raw;
    for (const std::string& words : find_drift(table, written.seen[index(table)], *now, guard)) {
      found.what.push_back(std::string(name_of(family)) + " " + words);
    }
  }
  if (found.what.empty()) written.generation = generation;
  return store::ok();
}

Status IptablesRuleset::repair(Family family, const DiversionPlan& part, const Drift& drift) {
  if (drift.sets) {
    const auto present = present_sets(family);
    if (!present) return present.error();
    if (const Status done = fill_sets(family, part, *present); !done) return done;
  }
  if (!drift.rules) return store::ok();
  if (const Status done = write_rules(family, part); !done) return done;
  return guards_ && family == Family::v4 ? guard() : store::ok();
}

std::string IptablesRuleset::rules(Table table, Family family, const DiversionPlan& part) const {
  return render_install(table, family, part, options_, *able_[index(family)], {});
}

Status IptablesRuleset::remove(Family family, Stage stage) {
  written_[index(family)].reset();
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
  guards_ = true;
  const auto present = xtables_.traces(Family::v4, Table::raw);
  return present ? xtables_.restore(Family::v4, render_guard(*present)) : Status(present.error());
}

Status IptablesRuleset::unguard() {
  guards_ = false;
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
