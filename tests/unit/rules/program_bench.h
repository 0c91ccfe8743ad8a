// program_bench.h: an iptables program as a Decider, on a small node, with a clock of its own.
//
//   eth0 10.128.0.5/24 (default route), cbr0 10.28.8.1/24 (pods of this node)
#pragma once

#include <map>
#include <string>
#include <vector>

#include "lb/rules/completion.h"
#include "lb/rules/program.h"
#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules::test {

inline const node::NodeView& node_of_bench() {
  static const node::NodeView view(
      {{.interface = 2, .address = *net::Address::parse("10.128.0.5"), .prefix_length = 24},
       {.interface = 3, .address = *net::Address::parse("10.28.8.1"), .prefix_length = 24},
       {.interface = 2, .address = *net::Address::parse("fd00:128::5"), .prefix_length = 64}},
      {{.destination = *net::Prefix::parse("0.0.0.0/0"), .interface = 2, .gateway = *net::Address::parse("10.128.0.1")},
       {.destination = *net::Prefix::parse("10.28.8.0/24"), .interface = 3, .gateway = {}},
       {.destination = *net::Prefix::parse("::/0"), .interface = 2, .gateway = *net::Address::parse("fe80::1")}},
      {{1, "lo"}, {2, "eth0"}, {3, "cbr0"}});
  return view;
}

class ProgramBench {
 public:
  explicit ProgramBench(Ruleset rules, RuleMemory* shared = nullptr, std::vector<datapath::EndpointId> ids = {})
      : own_({}, NthOnReload::reset),
        memory(shared != nullptr ? *shared : own_),
        program(slots, checked(link(std::move(rules), memory)), memory, ids) {}
  explicit ProgramBench(const std::string& text) : ProgramBench(parsed(text)) {}

  /// From outside over eth0, from a pod of this node over cbr0, or (from the node's own addresses) from here.
  datapath::Decision decide(const net::Tuple& tuple, bool known_clients_only = false) {
    const bool own = node_of_bench().is_local(tuple.source.address);
    const node::Route* const route = node_of_bench().route_to(tuple.source.address);
    hits.clear();
    return program.decide({.tuple = tuple,
                           .hook = own ? datapath::Hook::output : datapath::Hook::prerouting,
                           .in_interface = own || route == nullptr ? 0 : route->interface,
                           .mark = mark,
                           .ttl = 64,
                           .known_clients_only = known_clients_only},
                          node_of_bench(), now, rng, &hits);
  }
  /// "dnat 10.28.8.6:80 masquerade miss", "drop", …
  std::string words(const net::Tuple& tuple, bool known_clients_only = false) {
    const datapath::Decision decision = decide(tuple, known_clients_only);
    std::string text(to_string(decision.action));
    if (decision.reason == datapath::Reason::midstream) text += " midstream";
    if (decision.action != datapath::Action::dnat) return text;
    text += " " + decision.endpoint.to_string();
    if (decision.masquerade) text += " masquerade";
    if (decision.affinity != datapath::AffinityOutcome::none) text += " " + std::string(to_string(decision.affinity));
    return text;
  }

 private:
  static LinkedRuleset checked(LinkedRuleset linked) {
    for (const auto& error : linked.errors) ADD_FAILURE() << store::to_string(error);
    return linked;
  }
  RuleMemory own_;

 public:
  RuleMemory& memory;
  datapath::EndpointSlots slots{16};
  Program program;
  pick::Rng rng{1};
  flow::Instant now{std::chrono::hours(24)};
  std::uint32_t mark = 0;
  std::vector<Hit> hits;
};

}  // namespace limpet::rules::test
