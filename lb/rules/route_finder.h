// route_finder.h: follows the rules of one table from one hook, with what is known of a packet so far.
//
//   chain, rule ── contradicts what is known ──▶ no packet of this way matches: on
//               ── a cascade begins here      ──▶ a route; on with what it leaves over
//               ── marks                      ──▶ remembered, and under which demands
//               ── jumps                      ──▶ the same there, knowing more; on, if packets may come back
//               ── ends                       ──▶ a route: dropped, rejected, left alone
//
// Where a rule with one more demand lets nobody past who fulfils it, those who come past do not: that is known, too.
// The ways of a table share nothing: a chain that many jump to is followed for each. Pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lb/rules/meaning.h"

namespace limpet::rules {

/// A route with all that was known on its way.
struct FoundRoute {
  Route route;
  Frontend frontend;
  std::string service;
};

/// Of the rules of a table, which take part, and why the others do not.
class Coverage {
 public:
  explicit Coverage(const TableRules& table);

  /// A packet may come here. `why`: what the rule stands apart for, unless it is taken.
  void walk(RuleAt at, std::string_view why);
  void take(RuleAt at);
  std::size_t taken() const noexcept { return taken_; }
  bool is_taken(RuleAt at) const { return states_[at.chain][at.rule].taken; }
  /// Of a rule that is not taken.
  std::string_view why(RuleAt at) const { return states_[at.chain][at.rule].why; }

 private:
  struct State {
    bool taken = false;
    std::string_view why = "no packet of a new connection gets here";
  };
  std::vector<std::vector<State>> states_;
  std::size_t taken_ = 0;
};

class RouteFinder {
 public:
  struct Context {
    const TableRules& table;
    const Balance& balance;  // of nat; of no cascades elsewhere
    const Marks& marks;
    std::uint32_t masquerade_bits;
    std::uint32_t drop_bits;
    Coverage& coverage;
    std::size_t& steps;  // left
  };

  explicit RouteFinder(const Context& context);
  /// `hook`: a RouteHook, or 0 in the table filter.
  void follow(std::string_view chain, std::uint8_t hook);
  const std::vector<FoundRoute>& routes() const noexcept { return routes_; }

 private:
  struct Way;
  struct Step;

  bool follow(std::uint32_t chain, Way& way);
  bool follow_rule(const Step& step, Way& way);
  bool follow_cascade(const Cascade& cascade, Way& way);
  bool follow_jump(const Step& step, std::uint32_t chain, Way& way);
  bool follow_verdict(const Step& step, Way& way, Route::Outcome outcome);
  bool follow_mark(const Step& step, const SetMark& mark, Way& way);
  void add(Route route, const Step& step, const Way& way);
  void take(const Cascade& cascade);
  void take_mark(RuleAt at);

  const Context context_;
  std::unordered_map<std::string_view, std::uint32_t> numbers_;
  std::uint8_t hook_ = 0;
  std::vector<FoundRoute> routes_;
};

}  // namespace limpet::rules
