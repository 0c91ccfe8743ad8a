#include "lb/lab/subject.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "lb/service/identities.h"
#include "lb/service/snapshot.h"

namespace limpet::lab {
namespace {

/// Stamps of the affinity table are told apart for 49 days, once round a day keeps them in order (affinity_table.h). A
/// timeline may leap farther than that at once: then as many laps as it needs, each a step that the table can follow.
constexpr std::chrono::hours kLap{24};
constexpr std::chrono::hours kStep{20 * 24};

}  // namespace

store::Result<std::unique_ptr<BalancerSubject>> BalancerSubject::build(const service::Config& config,
                                                                       std::uint32_t clients,
                                                                       const store::HashKey& key) {
  std::unique_ptr<BalancerSubject> subject(new BalancerSubject(config, clients, key));
  service::Identities identities(subject->slots_);
  auto snapshot = service::Snapshot::build(config, identities);
  if (!snapshot) return snapshot.error();
  subject->balancer_.emplace(subject->slots_, std::move(*snapshot), subject->affinity_);
  return subject;
}

BalancerSubject::BalancerSubject(const service::Config& config, std::uint32_t clients, const store::HashKey& key)
    : slots_(service::count_endpoints(config.services)),
      affinity_({.capacity_v4 = clients, .capacity_v6 = clients, .key = key}),
      reject_with_(config.reject_with) {}

service::Explanation BalancerSubject::describe(const datapath::NewConnection& connection, const node::NodeView& node,
                                               const datapath::Decision& decision) const {
  return service::describe(balancer_->snapshot(), connection, node, decision, reject_with_);
}

bool BalancerSubject::is_local(const net::Address& source, const node::NodeView& node) const {
  return balancer_->snapshot().node().is_local(source, node);
}

void BalancerSubject::tell_time(flow::Instant now) {
  if (!swept_) swept_ = now;
  while (now - *swept_ >= kLap) {
    *swept_ += std::min<flow::Milliseconds>(now - *swept_, kStep);
    affinity_.sweep(affinity_.slots(), *swept_);
  }
}

}  // namespace limpet::lab
