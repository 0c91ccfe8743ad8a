// candidates.h: all that nat's rules could translate a connection to, remembered for the next one like it.
//
//   connection ─▶ hook, interface, protocol, destination, mark ─▶ a tree: what rules/reach.h asked about the source
//                                                                  └ by the answers ─▶ endpoints in words, sorted
//
// The ways through the rules follow from the answers of the rules. So a connection that answers like an earlier one gets
// the earlier one's list, without following the rules again: O(questions about the source).
//
// Of one node: its addresses stay as they are. What is remembered is bounded: beyond kMost questions and endpoints all is
// forgotten. One thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "lb/datapath/decider.h"
#include "lb/rules/facts.h"
#include "lb/rules/ip_sets.h"
#include "lb/rules/reach.h"

namespace limpet::lab {

class Candidates {
 public:
  static constexpr std::size_t kMost = 1'000'000;

  struct List {
    std::vector<std::string> endpoints;  // sorted, each once
    bool complete = true;                // false: there may be more; too many ways lead through the rules
  };

  /// References outlive the object. `sets`: nullptr: no set has an element.
  Candidates(const rules::TableRules& nat, const rules::IpSets* sets) : reach_(nat, sets) {}

  /// `mark`: the packet's when it comes to nat. The list is good until the next call.
  const List& of(const datapath::NewConnection& connection, const node::NodeView& node, std::uint32_t mark);
  /// How often the rules were followed.
  std::size_t followed() const noexcept { return followed_; }

 private:
  using Number = std::uint32_t;
  static constexpr Number kUnknown = ~Number{0};

  /// A question, or, without a rule, the end of all questions.
  struct Node {
    const rules::Rule* rule = nullptr;
    std::uint32_t mark = 0;
    std::array<Number, 3> next{kUnknown, kUnknown, kUnknown};  // by rules::Reach::Answer: nodes
    Number list = kUnknown;
  };
  using Key = std::tuple<bool, std::uint32_t, net::Protocol, net::AddressPort, std::uint32_t>;

  Number add_node();
  const List& learn(Number node, bool local, const rules::Facts& facts);

  rules::Reach reach_;
  std::map<Key, Number> roots_;
  std::vector<Node> nodes_;
  std::vector<List> lists_;
  std::size_t endpoints_ = 0;  // in all lists
  std::size_t followed_ = 0;
};

/// Where a DNAT or REDIRECT sends a connection to `original`, in words; "" for other targets.
std::string destination_of(const rules::Target& target, const net::AddressPort& original);

}  // namespace limpet::lab
