// planner.h: finds the units of a program's chains and builds their plans (plan.h).
//
// One pass over each chain: a run is as long as its rules have the same conditions; shorter runs than two stay single
// rules. A chain of few rules and no run has no plan. O(rules), plus the periods of nth runs. At link time, one thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "lb/rules/chains.h"
#include "lb/rules/plan.h"

namespace limpet::rules {

class Planner {
 public:
  /// `order`: all chains, each behind those that it leads to.
  Planner(Chains& chains, const RuleMemory& memory, const std::vector<std::uint32_t>& order)
      : chains_(chains), memory_(memory), order_(order) {}
  void plan();

 private:
  using Protocols = std::uint8_t;  // bits: tcp, udp, sctp, any other

  struct Shape {
    Unit::Kind kind = Unit::Kind::rule;
    Rule conditions;  // what all rules of a run must have in common
    affinity::RecentMask mask;
    bool by_destination = false;
    std::string_view why{};  // rule: why it can be part of no run
  };
  /// Rules [first, last): one unit, or as many as there are rules.
  struct Run {
    Shape shape;
    std::uint32_t first = 0;
    std::uint32_t last = 0;
    bool closed = false;  // the last one takes whoever is left
  };

  static Protocols protocols_of(const Rule& rule);
  static bool belongs(const Shape& first, const Shape& next);
  Shape shape_of(std::uint32_t chain, const Chains::Step& step) const;
  Shape shape_of_recent(const Chains::Step& step, std::size_t at, Shape shape) const;
  Run find_run(std::uint32_t chain, std::uint32_t first) const;

  void find_reach();
  void find_ends();
  Protocols ending(const Chains::Step& step) const;
  bool always_ends(std::uint32_t chain, const Chains::Step& step) const;

  /// nullopt: single rules; `why`.
  std::optional<Unit> make_unit(std::uint32_t chain, const Run& run, std::string_view& why);
  std::optional<Unit> make_nth(std::uint32_t chain, const Run& run, std::string_view& why);
  Unit make_recent(std::uint32_t chain, const Run& run) const;
  void plan(std::uint32_t chain);

  Chains& chains_;
  const RuleMemory& memory_;
  const std::vector<std::uint32_t>& order_;
  std::vector<Protocols> reach_;  // by chain: the protocols of packets that may come there
  std::vector<Protocols> ends_;   // by chain: the protocols whose packets all end there
  std::size_t steps_ = std::size_t{1} << 25;
};

}  // namespace limpet::rules
