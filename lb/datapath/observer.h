// observer.h: who wants to know what the pipeline does with each packet.
//
// A worker that has no observer pays one comparison with null a packet. Told once a crossing, after the verdict is
// known; called on the worker's thread, so it must be quick, and it must not call the pipeline.
//
//   Observers   one observer for each worker, immutable; handed to running workers by Published<Observers> (published.h),
//               taken by each at the beginning of a batch: one load where nothing has changed. An observer that is no
//               longer published may be called until its worker's next batch, and lives as long as that worker holds it
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "conntrack/flow/flow.h"
#include "conntrack/flow/instant.h"
#include "conntrack/net/address.h"
#include "lb/datapath/counters.h"
#include "lb/datapath/decider.h"
#include "lb/datapath/hook.h"

namespace limpet::datapath {

struct Packet;
struct Verdict;

/// Enough of a packet to tell what it is: of an ICMPv6 error, its headers and those that it quotes.
inline constexpr std::size_t kHead = 160;

/// One packet at one hook. For an ICMP error `before` and `after` are of the packet that it quotes.
struct CrossingReport {
  flow::Instant now;
  Hook hook{};
  net::Tuple before = {};  // as it came; protocol 0: not readable
  net::Tuple after = {};   // as it leaves
  bool icmp_error = false;
  std::optional<flow::KeyRole> hit = {};    // the flow's key that it met; nullopt: no flow
  std::optional<net::Address> client = {};  // of that flow
  std::optional<Decision> decision = {};    // if a decider was asked
  Counter outcome = Counter::packets;       // rewritten, or why it was accepted unchanged or dropped
  const Verdict& verdict;
  std::span<const std::byte> head = {};  // the first bytes, kHead at most, as they came
  const Packet& packet;                  // its bytes as they leave
};

class Observer {
 public:
  Observer() = default;
  Observer(const Observer&) = delete;
  Observer& operator=(const Observer&) = delete;
  virtual ~Observer() = default;
  virtual void on(const CrossingReport& crossing) noexcept = 0;
};

/// Nobody observes where there are none.
struct Observers {
  std::vector<std::unique_ptr<Observer>> by_worker;

  Observer* of(unsigned worker) const noexcept { return by_worker.empty() ? nullptr : by_worker[worker].get(); }
};

}  // namespace limpet::datapath
