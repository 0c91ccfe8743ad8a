#include "lb/divert/diverter.h"

#include <algorithm>
#include <utility>

#include "lb/divert/ipset.h"
#include "lb/divert/plan_parts.h"
#include "lb/divert/rules.h"
#include "lb/divert/sets.h"
#include "lb/divert/vip_routes.h"

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using net::Family;
using store::Error;
using store::ErrorKind;
using store::Result;
using store::Status;

constexpr std::array<Family, 2> kFamilies{Family::v4, Family::v6};

const char* name_of(Family family) noexcept {
  return family == Family::v4 ? "IPv4" : "IPv6";
}

bool is_wanted(Variant variant, Backend backend) noexcept {
  return backend == Backend::automatic ||
         (backend == Backend::iptables_nft ? variant == Variant::nft : variant == Variant::legacy);
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

/// Removal goes on after an error, and reports the first.
void keep_first(Status& first, Status next) {
  if (first && !next) first = std::move(next);
}

}  // namespace

Result<Diverter> Diverter::open(const Options& options) {
  if (options.backend == Backend::nft) {
    return Error{
        ErrorKind::configuration,
        "divert.backend: nft: this version diverts through iptables only; use auto, iptables-nft or iptables-legacy"};
  }
  std::vector<Xtables> installed = Xtables::installed();
  if (installed.empty()) {
    return Error{ErrorKind::unavailable, "iptables-restore: not installed; install the package iptables"};
  }
  return Diverter(options, std::move(installed));
}

std::string_view Diverter::backend() const noexcept {
  return chosen_ ? std::string_view(installed_[*chosen_].name()) : "";
}

Result<Warnings> Diverter::apply(const DiversionPlan& plan, const RouteSources& sources) {
  for (const Family family : kFamilies) {
    const DiversionPlan part = part_of(plan, family);
    const Status done = is_active(part) ? install(family, part) : remove_family(family);
    if (!done) return done.error();
  }
  if (const Status removed = remove_other_variants(); !removed) return removed.error();
  return finish(plan, sources);
}

Result<Warnings> Diverter::update(const DiversionPlan& from, const DiversionPlan& to, const RouteSources& sources) {
  for (const Family family : kFamilies) {
    const Status done = update_family(family, part_of(from, family), part_of(to, family));
    if (!done) return done.error();
  }
  return finish(to, sources);
}

Status Diverter::remove_requests() {
  Status first = remove_vip_routes();
  for (const Xtables& xtables : installed_) {
    for (const Family family : kFamilies) keep_first(first, xtables.remove(family, Table::raw));
  }
  return first;
}

Status Diverter::remove_replies() {
  Status first = store::ok();
  for (const Xtables& xtables : installed_) {
    for (const Family family : kFamilies) keep_first(first, xtables.remove(family, Table::mangle));
  }
  for (const Family family : kFamilies) keep_first(first, destroy_sets(family));
  return first;
}

Result<bool> Diverter::diverts() const {
  for (const Xtables& xtables : installed_) {
    for (const Family family : kFamilies) {
      for (const Table table : {Table::raw, Table::mangle}) {
        const auto present = xtables.traces(family, table);
        if (!present && present.error().kind != ErrorKind::unavailable) return present.error();
        if (present && !present->jumps.empty()) return true;
      }
    }
  }
  return false;
}

std::string Diverter::render(const DiversionPlan& plan) const {
  Abilities able{.sets = options_.sets != Sets::never,
                 .socket = true,
                 .notrack = true,
                 .icmp = true,
                 .sctp = true,
                 .multiport = true,
                 .frag = true};
  std::string text;
  for (const Family family : kFamilies) {
    const DiversionPlan part = part_of(plan, family);
    if (!is_active(part)) continue;
    const std::string tool = family == Family::v4 ? "iptables-restore" : "ip6tables-restore";
    if (able.sets) text += "# ipset restore\n" + render_sets(family, part, choice(family, able), {});
    for (const Table table : {Table::mangle, Table::raw}) {
      text += "# " + tool + " --noflush\n" + render_install(table, family, part, options_, able, {});
    }
  }
  return text;
}

SetChoice Diverter::choice(Family family, Abilities able) const noexcept {
  return queues_fragments(family, options_, able) ? SetChoice::with_fragments : SetChoice::three;
}

Status Diverter::prepare(Family family) {
  auto& able = able_[index(family)];
  if (able) return store::ok();
  if (const Status chosen = choose_backend(family); !chosen) return chosen;
  const Xtables& xtables = installed_[*chosen_];
  able = find_abilities(xtables, family, options_);
  return store::ok();
}

/// The first wanted variant in which the kernel takes rules that queue. Both families use the same one.
Status Diverter::choose_backend(Family family) {
  std::optional<Error> first;
  for (std::size_t i = 0; i < installed_.size(); ++i) {
    const Xtables& xtables = installed_[i];
    if (chosen_ ? *chosen_ != i : !is_wanted(xtables.variant(), options_.backend)) continue;
    Status probed = xtables.probe(family, Feature::queue);
    if (probed) probed = xtables.probe(family, Feature::mark);
    if (probed) {
      chosen_ = i;
      return store::ok();
    }
    if (!first) first = probed.error();
  }
  if (!first) first = Error{ErrorKind::unavailable, "the wanted variant of iptables is not installed"};
  return Error{first->kind, std::string("cannot divert ") + name_of(family) + ": " + first->message};
}

Status Diverter::install(Family family, const DiversionPlan& part) {
  if (const Status prepared = prepare(family); !prepared) return prepared;
  const Abilities able = *able_[index(family)];
  if (const std::string missing = unmatchable(part, able); !missing.empty()) {
    return Error{ErrorKind::unavailable, std::string("cannot divert ") + name_of(family) +
                                             ": this kernel lacks what matches " + missing +
                                             ", and there are no sets (ipset) in its place"};
  }
  const SetChoice chosen = choice(family, able);
  const auto present = present_sets(family);
  if (!present) return present.error();
  if (able.sets) {
    if (const Status made = restore_sets(render_sets(family, part, chosen, *present)); !made) return made;
  }
  if (const Status done = install_table(Table::mangle, family, part); !done) return done;
  if (const Status done = install_table(Table::raw, family, part); !done) return done;
  return able.sets ? destroy_sets(unchosen_sets(family, chosen, *present)) : destroy_sets(*present);
}

Status Diverter::install_table(Table table, Family family, const DiversionPlan& part) {
  const Xtables& xtables = installed_[*chosen_];
  const auto present = xtables.traces(family, table);
  if (!present) return present.error();
  return xtables.restore(family, render_install(table, family, part, options_, *able_[index(family)], *present));
}

Status Diverter::update_family(Family family, const DiversionPlan& from, const DiversionPlan& to) {
  if (from == to) return store::ok();
  if (!is_active(to)) return remove_family(family);
  if (is_active(from) && has_same_rules(family, from, to) &&
      restore_sets(render_set_changes(family, from, to, choice(family, *able_[index(family)]))))
    return store::ok();
  return install(family, to);
}

/// Do the two differ in the sets' elements only?
bool Diverter::has_same_rules(Family family, const DiversionPlan& a, const DiversionPlan& b) const {
  const auto& able = able_[index(family)];
  if (!able || !able->sets) return false;
  const auto rules = [&](Table table, const DiversionPlan& plan) {
    return render_install(table, family, plan, options_, *able, {});
  };
  return rules(Table::mangle, a) == rules(Table::mangle, b) && rules(Table::raw, a) == rules(Table::raw, b);
}

Status Diverter::remove_family(Family family) {
  Status first = store::ok();
  for (const Table table : {Table::raw, Table::mangle}) {
    for (const Xtables& xtables : installed_) keep_first(first, xtables.remove(family, table));
  }
  keep_first(first, destroy_sets(family));
  return first;
}

Status Diverter::remove_other_variants() {
  for (std::size_t i = 0; i < installed_.size(); ++i) {
    if (i == chosen_) continue;
    for (const Table table : {Table::raw, Table::mangle}) {
      for (const Family family : kFamilies) {
        if (const Status removed = installed_[i].remove(family, table); !removed) return removed;
      }
    }
  }
  return store::ok();
}

Warnings Diverter::finish(const DiversionPlan& plan, const RouteSources& sources) const {
  Warnings warnings = set_vip_routes(plan, sources);
  for (const Family family : kFamilies) {
    const auto& able = able_[index(family)];
    if (!is_active(part_of(plan, family)) || !able) continue;
    if (!able->socket && !queues_fragments(family, options_, *able)) {
      warnings.push_back(std::string("this kernel has neither a socket match nor a frag match for ") + name_of(family) +
                         ": fragmented datagrams are lost unless connection tracking is in use");
    }
    if (!able->icmp) {
      warnings.push_back(std::string("this kernel has no ICMP match for ") + name_of(family) +
                         " rules: ICMP errors pass untranslated, path-MTU discovery through a VIP fails");
    }
  }
  return warnings;
}

}  // namespace limpet::divert
