// planner.h: finds the units of a program's chains and builds their plans (plan.h).
//
// One pass over each chain: a run is as long as its rules have the same conditions; shorter runs than two stay single
// rules. A chain of few rules and no run has no plan. O(rules), plus the periods of nth runs. At link time, one thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "lb/rules/chains.h"
#include "lb/rules/plan.h"

namespace limpet::rules {

class Planner {
 public:
  Planner(Chains& chains, const RuleMemory& memory) : chains_(chains), memory_(memory) {}
  void plan();

 private:
  using Protocols = std::uint8_t;  // bits: tcp, udp, sctp, any other

  struct Shape {
    Unit::Kind kind = Unit::Kind::rule;
    Rule conditions;  // what all rules of a run must have in common
    affinity::RecentMask mask;
    bool by_destination = false;
    friend bool operator==(const Shape&, const Shape&) = default;
  };

  static Protocols protocols_of(const Rule& rule);
  Shape shape_of(const Chains::Step& step) const;
  void find_reach();
  bool always_ends(std::uint32_t chain, Protocols protocols) const;
  bool step_always_ends(const Chains::Step& step, Protocols protocols) const;
  Unit make_unit(std::uint32_t chain, const Shape& shape, std::uint32_t first, std::uint32_t last) const;
  bool make_period(std::uint32_t chain, Unit& unit) const;
  void plan(std::uint32_t chain);

  Chains& chains_;
  const RuleMemory& memory_;
  std::vector<Protocols> reach_;  // by chain: the protocols of packets that may come there
};

}  // namespace limpet::rules
