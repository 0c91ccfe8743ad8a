// explain.h: the path of reasons behind one decision, in words.
//
// The decision is the production code's own (Snapshot::match and Balancer::decide); only the words are made here. Each
// line of `why` states one fact that narrowed the outcome, in the order in which it was settled: the door, the source,
// the set and who was left out of it, affinity, masquerade; or what a client that is turned away is told. Control plane:
// allocates. explain() is not const in the affinity table: like a real connection it is remembered there.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lb/service/balancer.h"

namespace limpet::service {

struct Explanation {
  datapath::Decision decision;
  std::vector<std::string> candidates;  // "ip:port", sorted as text
  std::optional<std::string> service;   // "namespace/name:port"
  std::string reason;                   // one sentence
  std::vector<std::string> why;
};

/// A decision that has been made, in words: `snapshot` is what it was made by. Changes nothing.
Explanation describe(const Snapshot& snapshot, const datapath::NewConnection& connection, const node::NodeView& node,
                     const datapath::Decision& decision, RejectWith reject_with = RejectWith::icmp);

/// Decides, and describes it.
Explanation explain(Balancer& balancer, const datapath::NewConnection& connection, const node::NodeView& node,
                    flow::Instant now, pick::Rng& rng, RejectWith reject_with = RejectWith::icmp);

}  // namespace limpet::service
