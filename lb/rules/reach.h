// reach.h: where a chain could lead a packet, whatever chance and memory say.
//
//   yes, no   addresses, interfaces, ports, marks, sets, …: as the packet shows them
//   maybe     `statistic` (random between 0 and 1, nth of more than one) and `recent` that asks: both ways are followed
//
//   ends      every DNAT, REDIRECT, ACCEPT, DROP, REJECT, SNAT, MASQUERADE that some way leads to, each once, in the order
//             in which the first way meets it
//
//   asked     the questions whose answers depended on the packet's source, in order: who answers them alike, and is alike
//             otherwise, goes the same ways
//
// MARK is followed; the mark, the position and the chains to return to are one state, and no state is looked at twice:
// O(rules) where chains return nowhere, as kube-proxy's. `complete` is false if there were more than kMostStates.
// A program must link without errors (chains.h). Pure; allocates; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lb/rules/facts.h"
#include "lb/rules/ip_sets.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

class Reach {
 public:
  static constexpr std::size_t kMostStates = 1'000'000;

  enum class Answer : std::uint8_t { no, maybe, yes };
  struct Question {
    const Rule* rule;
    std::uint32_t mark;  // of the packet, there
    Answer answer;
  };
  struct Ends {
    std::vector<const Rule*> rules;
    std::vector<Question> asked;
    bool complete = true;
  };

  /// References outlive the object. `sets`: nullptr: no set has an element.
  Reach(const TableRules& table, const IpSets* sets);

  /// Nothing, if there is no such chain.
  Ends from(std::string_view chain, const Facts& facts) const;
  Answer ask(const Rule& rule, const Facts& facts) const;

 private:
  struct State;

  Answer ask(const Match& match, const Facts& facts) const;
  bool asks_for_source(const Rule& rule, const Facts& facts) const;
  const Chain* find(const std::string& name) const;

  std::unordered_map<std::string_view, const Chain*> chains_;
  std::unordered_map<const Rule*, Rule> others_;  // of rules that ask for the source: what else they ask for
  const IpSets* sets_;
};

}  // namespace limpet::rules
