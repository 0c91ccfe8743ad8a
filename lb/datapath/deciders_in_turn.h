// deciders_in_turn.h: two Deciders as one: the second is asked about what is none of the first's: what it leaves alone, or
// turns away for being no service of its own (compat: nftables). Where the second has no answer either, the first's holds.
//
// Both outlive it. Both have their endpoints in the same slots, so that still_valid() is either's.
#pragma once

#include "lb/datapath/decider.h"

namespace limpet::datapath {

class DecidersInTurn final : public Decider {
 public:
  DecidersInTurn(const EndpointSlots& slots, Decider& first, Decider& second) noexcept
      : Decider(slots), first_(first), second_(second) {}

  Decision decide(const NewConnection& connection, const node::NodeView& node, flow::Instant now,
                  pick::Rng& rng) override {
    const Decision decision = first_.decide(connection, node, now, rng);
    if (!is_nobodys(decision)) return decision;
    const Decision other = second_.decide(connection, node, now, rng);
    return other.action == Action::none ? decision : other;
  }
  /// A name is of the one that gave it; the other does not know it.
  void confirm(const net::Address& client, const flow::AffinityName& remembered, flow::Instant now) override {
    first_.confirm(client, remembered, now);
    second_.confirm(client, remembered, now);
  }
  void refresh(const net::Address& client, const flow::AffinityName& remembered, flow::Instant now) override {
    first_.refresh(client, remembered, now);
    second_.refresh(client, remembered, now);
  }

 private:
  static bool is_nobodys(const Decision& decision) noexcept {
    return decision.action == Action::none || decision.reason == Reason::no_such_port ||
           decision.reason == Reason::unallocated;
  }

  Decider& first_;
  Decider& second_;
};

}  // namespace limpet::datapath
