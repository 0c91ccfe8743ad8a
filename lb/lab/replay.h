// replay.h: a timeline of new connections, run through a Decider, as the workers would have run it.
//
//   Event ─▶ clock ─▶ Subject::tell_time ─▶ Subject::decide ─▶ Decision
//
// The clock is the timeline's, in whole milliseconds, as the daemon's is. A source that is one of the node's addresses means
// the OUTPUT hook. All choices come from the seed, one stream for the whole timeline: the same timeline, Subject and
// seed give the same decisions, on any machine. One thread.
#pragma once

#include <cstdint>

#include "lb/lab/event_node.h"
#include "lb/lab/subject.h"
#include "lb/lab/timeline.h"
#include "lb/pick/rng.h"

namespace limpet::lab {

class Replay {
 public:
  struct Played {
    datapath::NewConnection connection;
    datapath::Decision decision;
  };

  /// Both references outlive the object.
  Replay(Subject& subject, EventNode& node, std::uint64_t seed) noexcept : subject_(subject), node_(node), rng_(seed) {}

  /// Events in the order of their time. Errors: configuration: the node has no such interface.
  store::Result<Played> play(const Event& event);
  /// Of one that has just been played.
  service::Explanation describe(const Played& played) const {
    return subject_.describe(played.connection, node_.view(), played.decision);
  }

 private:
  Subject& subject_;
  EventNode& node_;
  pick::Rng rng_;
};

}  // namespace limpet::lab
