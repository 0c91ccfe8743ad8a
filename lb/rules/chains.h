// chains.h: an iptables program whose names are resolved: ready to be walked by packets.
//
//   Ruleset ──link()──▶ Chains of each table        jumps → chains, `recent` → its list, nth → its counter, set → its set
//                                  │
//   Facts, now ─────────walk()─────┴──▶ Walk: how it ended, by which rule; hits on the way
//
// A walk is ipt_do_table (net/ipv4/netfilter/ip_tables.c): rules from the top; in a rule addresses, interfaces and
// protocol first, then its matches from the left, up to the first that does not hold: what stands behind it is not
// asked, and so neither counts nor remembers. A jump returns behind itself, a goto to where its own chain was called
// from, the end of a built-in chain is its policy. MARK changes the mark and goes on.
//
// Errors of linking name the line: a jump to a chain that is not there (or a target that limpet does not know), a
// loop, more than 64 chains inside each other, a set that was not given. lenient: those rules are left out.
//
// Lists of `recent` are opened in the order of iptables-legacy (lb/affinity/recent_lists.h), so the mask of a list that
// rules disagree about is the kernel's. What rules remember lives in RuleMemory, which outlives programs: a reload
// links the new one before it drops the old.
//
// compiled: chains have plans (plan.h), by which a walk passes over rules that cannot match. Outcome, hits and what is
// remembered are the same, but for which random numbers are drawn.
//
// Threads: any may walk at once; `recent` and nth are as atomic as the kernel's, one match at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "conntrack/store/line_error.h"
#include "lb/affinity/recent_lists.h"
#include "lb/pick/rng.h"
#include "lb/rules/facts.h"
#include "lb/rules/ip_sets.h"
#include "lb/rules/plan.h"
#include "lb/rules/ruleset.h"
#include "lb/rules/statistic.h"

namespace limpet::rules {

/// What the rules of programs remember.
struct RuleMemory {
  RuleMemory(const affinity::RecentOptions& options, NthOnReload on_reload) : lists(options), counters(on_reload) {}

  affinity::RecentLists lists;
  NthCounters counters;
};

/// A rule that matched.
struct Hit {
  Table table = Table::nat;
  const std::string* chain = nullptr;
  std::uint32_t number = 0;  // in its chain, from 1
  const Rule* rule = nullptr;
};

/// A rule, and what the compiler made of it.
struct TreatedRule {
  Table table = Table::nat;
  const std::string* chain = nullptr;
  std::uint32_t number = 0;  // in its chain, from 1
  const Rule* rule = nullptr;
  Treatment treatment;
};

/// How a packet leaves a table.
enum class End : std::uint8_t { policy, accept, drop, reject, dnat, redirect, snat, masquerade };

struct Walk {
  End end = End::policy;     // of a policy DROP: drop. The end of a user's chain that was entered directly: policy
  const Rule* by = nullptr;  // nullptr: the policy
  // What `recent` said on the way (--rcheck and --update, not inverted):
  bool asked = false;    // at all
  bool expired = false;  // that the client is known, but not recently
  bool known = false;    // that it is, by a rule whose jump (or target) led to the end
};

/// What a walk depends on besides the packet.
struct Moment {
  std::uint64_t jiffies = 0;
  pick::Rng& rng;
  bool without_consequences = false;  // nothing is remembered or counted
};

class Chains {
 public:
  static constexpr std::size_t kDeepest = 64;

  /// `facts.mark` is what MARK made of it. `hits`, if given, gets every rule that matched, in order. nullopt: there is
  /// no such chain.
  std::optional<Walk> walk(std::string_view chain, Facts& facts, const Moment& moment,
                           std::vector<Hit>* hits = nullptr) const;
  Table table() const noexcept { return table_; }
  /// Of a compiled program: every rule, chain by chain. Of another: none.
  std::vector<TreatedRule> treated() const;
  /// What the nth matches have counted so far, in the order of the rules.
  std::vector<std::uint32_t> counted() const;
  /// How often packets took their turn with an nth match, or a run of them.
  std::uint64_t nth_turns() const noexcept { return nth_turns_->count.load(std::memory_order_relaxed); }

 private:
  friend class Linker;
  friend class Planner;

  struct Recent {
    affinity::RecentMatch rule;
    std::shared_ptr<affinity::RecentTable> list;
  };
  struct Set {
    SetMatch match;
    const IpSet* set;
  };
  using Linked = std::variant<TransportMatch, MultiportMatch, MarkMatch, AddrtypeMatch, ConntrackMatch, Recent,
                              RandomMatch, std::shared_ptr<NthMatch>, Set>;
  struct Step {
    const Rule* rule;
    std::uint32_t number;
    std::uint32_t chain;  // of Jump and Goto
    std::vector<Linked> matches;
  };
  struct Path {
    const std::string* name;
    std::optional<Policy> policy;
    std::vector<Step> steps;
    std::unique_ptr<const Plan> plan;   // nullptr: rule by rule
    std::vector<Treatment> treatments;  // by step; none if not compiled
  };
  struct Place {
    std::uint32_t chain;
    std::uint32_t step;
    bool known;  // came here because a client was known
  };
  class Walker;
  /// On a cache line of its own: every worker writes to it, as to the counters themselves.
  struct alignas(64) Tally {
    std::atomic<std::uint64_t> count{0};
  };

  Table table_ = Table::nat;
  std::vector<Path> paths_;
  std::unique_ptr<Tally> nth_turns_ = std::make_unique<Tally>();
  std::unordered_map<std::string_view, std::uint32_t> names_;
};

struct LinkOptions {
  std::string file = "rules";    // what errors call it
  const IpSets* sets = nullptr;  // outlive what is linked
  bool lenient = false;
  bool compiled = false;
};

struct LinkedRuleset {
  std::shared_ptr<const Ruleset> rules;
  std::shared_ptr<const IpSets> sets;           // if they are kept here: those of LinkOptions
  std::array<std::optional<Chains>, 4> tables;  // by Table
  std::vector<store::LineError> errors;         // not empty: must not be walked
  std::vector<store::LineError> skipped;        // lenient: rules that were left out

  Chains* find(Table table) noexcept {
    auto& chains = tables[static_cast<std::size_t>(table)];
    return chains ? &*chains : nullptr;
  }
};

LinkedRuleset link(Ruleset rules, RuleMemory& memory, const LinkOptions& options = {});

}  // namespace limpet::rules
