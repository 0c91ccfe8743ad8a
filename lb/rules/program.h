// program.h: the Decider of an iptables program, run literally: a new connection meets the rules that the kernel would
// have shown it, in the kernel's order.
//
//   from outside   raw, mangle, nat PREROUTING ─┬─ to this node:  mangle, filter INPUT
//                                               └─ to elsewhere:  mangle, filter FORWARD ─┐
//   from here      raw, mangle, nat, filter OUTPUT ───────────────────────────────────────┴─ mangle, nat POSTROUTING
//
//   nat DNAT, REDIRECT     the packet goes on with its new destination; the decision is dnat
//   DROP, REJECT anywhere  the decision is drop, reject; a policy DROP counts
//   POSTROUTING            MASQUERADE or SNAT for the translated packet, with its mark: the decision says masquerade
//   none of these          none: not ours
//
// What the rules see: connection states INVALID in raw (nothing is tracked yet), NEW elsewhere, with DNAT once it is
// translated; the TTL that the packet came with; interfaces by name, the output's by the route to the destination.
// Affinity words: none where no `recent --rcheck` or `--update` was asked; hit where one led to the endpoint; else
// expired where a list knew the client, else miss.
//
// known_clients_only: the same walk without consequences; who is no hit is dropped as midstream.
//
// Not followed: SNAT to an address of its own (the client is hidden behind the egress address, as with MASQUERADE); the
// second round of a local connection to a local address through lo; the tables security and the chain nat INPUT.
//
// Cost: as the kernel's, O(rules met). Allocates nothing. Any number of threads.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lb/datapath/decider.h"
#include "lb/rules/chains.h"

namespace limpet::rules {

/// A destination that the program translates to. Flows and counters know it by an EndpointId.
struct ProgramEndpoint {
  std::string text;        // "10.28.8.6:80", "10.28.8.1-10.28.8.9"; of REDIRECT "this node", "this node:8080"
  net::AddressPort first;  // of the range; unspecified: what the packet came with
};
/// Each once, in the order of the rules.
std::vector<ProgramEndpoint> endpoints_of(const Ruleset& rules);

class Program final : public datapath::Decider {
 public:
  /// `linked` without errors; `ids` as endpoints_of() has them, or empty: endpoints without names. `slots` and `memory`
  /// outlive the Program.
  Program(const datapath::EndpointSlots& slots, LinkedRuleset linked, RuleMemory& memory,
          const std::vector<datapath::EndpointId>& ids = {});

  datapath::Decision decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                            pick::Rng& rng) override {
    return decide(connection, node, now, rng, nullptr);
  }
  /// The same, and every rule that matched on the way.
  datapath::Decision decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                            pick::Rng& rng, std::vector<Hit>* hits);
  /// The kernel's rules ask nobody: what they remember is never provisional.
  void confirm(const net::Address&, const flow::AffinityName&, flow::Instant) override {}

  const Ruleset& rules() const noexcept { return *linked_.rules; }
  /// Of all tables: how often packets took their turn with an nth match, or a run of them.
  std::uint64_t nth_turns() const noexcept;
  /// Those that LinkedRuleset keeps; nullptr: none.
  const IpSets* sets() const noexcept { return linked_.sets.get(); }

 private:
  class Traversal;

  LinkedRuleset linked_;
  RuleMemory& memory_;
  std::unordered_map<const Rule*, datapath::EndpointId> ids_;
};

/// What a new connection shows to the first rules that it meets.
Facts first_facts(const datapath::NewConnection& connection, const node::NodeView& node);

/// "nat KUBE-SERVICES:2 -d 10.31.240.99/32 -p tcp … -j KUBE-SVC-…"
std::string to_string(const Hit& hit, net::Family family);

}  // namespace limpet::rules
