// balance.h: the shapes in which iptables rules balance: cascades over endpoints.
//
//   -A SVC -m recent --rcheck --seconds 10800 --reap --name SEP-A … -j SEP-A     an ask:  known clients, in this order
//   -A SVC -m recent --rcheck --seconds 10800 --reap --name SEP-B … -j SEP-B
//   -A SVC -m statistic --mode random --probability 0.5 -j SEP-A                 a pick:  1/2
//   -A SVC -j SEP-B                                                              a pick:  all of the rest, 1/2
//   └ a cascade: rules [first, end) of a chain with the same demands, asks before picks
//
//   -A SEP-A -s 10.28.8.6/32 -j MARK-MASQ                                        a mark:  where the client is the endpoint
//   -A SEP-A -p tcp -m recent --set --name SEP-A … -j DNAT --to 10.28.8.6:80     remembers the client; translates
//   └ an endpoint: a chain that ends here for every packet that fulfils its demands (here: tcp); or one rule of a cascade
//
// Recognised by this shape alone, whatever chains are called: cascades of any probabilities, nth cascades, both mixed;
// in chains of their own or in PREROUTING and OUTPUT, where each rule repeats the demands. A rule belongs to a cascade if
// it holds at most one question (recent --rcheck or --update, or statistic; recent --set may follow) and leads to an
// endpoint. What a cascade stands for, for a packet that fulfils its demands:
//
//   each ask in turn; the first list that knows the client decides       else the picks: endpoint i with `share`,
//   else, with `rest`, nothing has happened and the rule at `end` is next       the sum of shares and rest is 1
//
// Shares are the product of the cascade's steps, from the kernel's 31-bit thresholds, an nth match counting as 1/n.
// A list is `own` if nobody but this endpoint's rules sets it and nobody but asks for this endpoint look at it: then,
// and only then, may it be kept otherwise than as a list. A packet that does not fulfil an endpoint's own demands walks
// on behind it, as the rules say: who evaluates cascades otherwise asks Leaf::demands first.
//
// Chain and rule numbers are indexes into TableRules::chains and Chain::rules of nat, from 0. Pure; any thread.
// Cost: O(rules log rules).
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <variant>
#include <vector>

#include "lb/rules/demands.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

struct RuleAt {
  std::uint32_t chain = 0;
  std::uint32_t rule = 0;
  friend auto operator<=>(const RuleAt&, const RuleAt&) = default;
};

/// A rule that marks packets and lets them go on: -j MARK, or a jump to a chain that does nothing else.
struct MarkStep {
  RuleAt at;
  Demands when;  // empty: always
  SetMark mark;  // of several in a row, what they come to
};

/// What rules of a table do that only mark.
class Marks {
 public:
  /// `table` outlives it.
  explicit Marks(const TableRules& table);
  /// To packets that fulfil the rule's demands; nullopt: it does more, or nothing.
  std::optional<SetMark> of(const Rule& rule) const;
  /// Of a jump there.
  std::optional<SetMark> of_chain(std::string_view chain) const;

 private:
  std::unordered_map<std::string_view, SetMark> chains_;
};

/// A `recent` match, and where it stands.
struct RecentAt {
  RuleAt at;
  std::uint32_t match = 0;  // index into Rule::matches
  affinity::RecentMatch recent;
  bool own = false;
};

/// Where a connection ends up.
struct Leaf {
  std::optional<std::uint32_t> chain;  // its own; nullopt: its DNAT stands in the cascade's rule
  RuleAt rule;                         // the DNAT or REDIRECT
  Target to;                           // Dnat or Redirect
  Demands demands;                     // of its own rules, on every packet
  std::vector<MarkStep> marks;         // in order
  std::vector<RecentAt> remembers;     // --set, in order
};

struct Ask {
  RecentAt list;           // rcheck or update, not inverted
  std::uint32_t leaf = 0;  // index into Balance::leaves
};

struct Pick {
  RuleAt at;
  std::variant<std::monostate, RandomMatch, NthRule> draw;  // monostate: whoever comes so far
  std::uint32_t leaf = 0;
  double share = 0;  // of those whom no ask knew
};

struct Cascade {
  std::uint32_t chain = 0;
  std::uint32_t first = 0, end = 0;  // rules
  Demands demands;                   // of each of its rules
  std::vector<Ask> asks;
  std::vector<Pick> picks;
  double rest = 1;
  /// Every pick gets the same, as closely as kube-proxy spells it (1/n to five decimals), and nothing rests.
  bool even = false;
};

struct Balance {
  std::vector<Leaf> leaves;       // each chain once, unless rules of cascades remember for it
  std::vector<Cascade> cascades;  // by chain, then by rule

  /// nullptr: that rule begins none.
  const Cascade* beginning_at(RuleAt at) const noexcept;
};

/// `rules` completed (completion.h) or whole.
Balance find_balance(const Ruleset& rules);

}  // namespace limpet::rules
