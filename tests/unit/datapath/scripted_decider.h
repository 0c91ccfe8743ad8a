// scripted_decider.h: a Decider that says what the test wrote down, and remembers what it was asked.
//
// Decisions are given in the order of next(); the last one is repeated. Without any: not a service. Safe to ask from
// several threads.
#pragma once

#include <deque>
#include <mutex>
#include <vector>

#include "lb/datapath/decider.h"

namespace limpet::datapath {

/// Any decision but dnat.
inline Decision refusal(Action action, Reason reason) {
  Decision decision;
  decision.action = action;
  decision.reason = reason;
  return decision;
}

class ScriptedDecider final : public Decider {
 public:
  struct Confirmed {
    net::Address client;
    flow::AffinityName remembered;
    friend bool operator==(const Confirmed&, const Confirmed&) = default;
  };

  using Decider::Decider;

  ScriptedDecider& next(const Decision& decision) { return script_.push_back(decision), *this; }
  /// Forget what was not said yet; from now on this.
  void from_now_on(const Decision& decision) { script_.assign(1, decision); }

  Decision decide(const NewConnection& connection, const node::NodeView&, flow::Instant, pick::Rng&) override {
    const std::lock_guard lock(mutex_);
    asked.push_back(connection);
    if (script_.empty()) return {};
    const Decision decision = script_.front();
    if (script_.size() > 1) script_.pop_front();
    return decision;
  }
  void confirm(const net::Address& client, const flow::AffinityName& remembered, flow::Instant) override {
    const std::lock_guard lock(mutex_);
    confirmed.push_back({client, remembered});
  }
  void refresh(const net::Address& client, const flow::AffinityName& remembered, flow::Instant) override {
    const std::lock_guard lock(mutex_);
    refreshed.push_back({client, remembered});
  }

  std::vector<NewConnection> asked;
  std::vector<Confirmed> confirmed;
  std::vector<Confirmed> refreshed;

 private:
  std::mutex mutex_;
  std::deque<Decision> script_;
};

}  // namespace limpet::datapath
