// observer.h: who wants to know what the pipeline does with each packet.
//
// A worker that has no observer pays one comparison with null a packet. Told once a crossing, after the verdict is
// known; called on the worker's thread, so it must be quick, and it must not call the pipeline.
#pragma once

#include <optional>

#include "conntrack/flow/flow.h"
#include "conntrack/flow/instant.h"
#include "conntrack/net/address.h"
#include "lb/datapath/counters.h"
#include "lb/datapath/decider.h"
#include "lb/datapath/hook.h"

namespace limpet::datapath {

struct Verdict;

/// One packet at one hook. For an ICMP error `before` and `after` are of the packet that it quotes.
struct CrossingReport {
  flow::Instant now;
  Hook hook{};
  net::Tuple before = {};  // as it came; protocol 0: not readable
  net::Tuple after = {};   // as it leaves
  bool icmp_error = false;
  std::optional<flow::KeyRole> hit = {};  // the flow's key that it met; nullopt: no flow
  std::optional<Decision> decision = {};  // if a decider was asked
  Counter outcome = Counter::packets;     // rewritten, or why it was accepted unchanged or dropped
  const Verdict& verdict;
};

class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;
  virtual void on(const CrossingReport& crossing) noexcept = 0;
};

}  // namespace limpet::datapath
