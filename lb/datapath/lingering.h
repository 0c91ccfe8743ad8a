// lingering.h: what must still be diverted though it is balanced no longer: the ends of connections that live on.
//
// An established connection outlives the removal of its endpoint, or of its whole service, as it does behind kube-proxy,
// where conntrack remembers it. So its replies must still be translated back, and what its client sends to the service
// must still go to the endpoint. An entry of `services` or `endpoints` that leaves the plan stays diverted, it lingers,
// until no flow names it:
//
//   start                 adopt(flows)            what flows need that a former process has left, and nobody balances now
//   change of what is     hold(delta)             → change of what is diverted: removals stay out of it
//   balanced
//   every second or so,   step(flows, budget)     a round over the flow table, in pieces; what two whole rounds have not
//   unless empty()                                met is let go: → change of what is diverted
//
// Two rounds, for a flow that another thread holds is left out of one; and a worker that has not taken up the new
// snapshot yet may begin a flow behind the round that is under way. An entry that comes back no longer lingers. What else
// a plan names (the node's addresses, …) is let go at once.
//
// A new connection to a service that lingers is diverted, too: the deciders find it none of theirs, and it passes as if it
// had not been. Whether a UDP flow may stay where it is remains for Decider::still_valid to say.
//
// One thread, beside any number of workers. Cost: hold O(change · log lingering), step O(budget · log lingering).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "conntrack/flow/flow_table.h"
#include "conntrack/flow/instant.h"
#include "lb/datapath/diversion_plan.h"

namespace limpet::datapath {

class Lingering {
 public:
  /// Of every flow that is alive, the ends that `balanced` lacks. Returns what is to be diverted beside it. Once, before
  /// all else: it looks at the whole table.
  PlanDelta adopt(flow::FlowTable& flows, const DiversionPlan& balanced, flow::Instant now);
  /// From a change of what is balanced to one of what is diverted.
  PlanDelta hold(PlanDelta delta);
  /// Look at up to `budget` flows, wherever the last call ended.
  PlanDelta step(flow::FlowTable& flows, std::size_t budget, flow::Instant now);

  /// What is to be diverted where this is balanced.
  DiversionPlan with(DiversionPlan balanced) const;
  bool empty() const noexcept { return services_.empty() && endpoints_.empty(); }
  std::size_t size() const noexcept { return services_.size() + endpoints_.size(); }

 private:
  static constexpr std::uint8_t kRounds = 2;

  struct Entry {
    L4Address at;
    bool met = true;  // in this round; in that in which it came, it counts as met
    std::uint8_t missed = 0;
  };
  using Entries = std::vector<Entry>;  // sorted

  static void insert(Entries& entries, const std::vector<L4Address>& leaving);
  static std::vector<L4Address> take(Entries& entries, std::vector<L4Address> coming);
  static void meet(Entries& entries, const L4Address& at);
  static std::vector<L4Address> end_round(Entries& entries);

  Entries services_;
  Entries endpoints_;
  std::uint32_t next_ = 0;  // record that the next step begins with
};

}  // namespace limpet::datapath
