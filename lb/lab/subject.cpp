#include "lb/lab/subject.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "lb/lab/program_subject.h"
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

datapath::Decision BalancerSubject::decide(const datapath::NewConnection& connection, const node::NodeView& node,
                                           flow::Instant now, pick::Rng& rng) {
  const datapath::Decision decision = balancer_->decide(connection, node, now, rng);
  if (decision.remembered) balancer_->confirm(connection.tuple.source.address, decision.remembered, now);
  return decision;
}

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

datapath::Decision MixedSubject::decide(const datapath::NewConnection& connection, const node::NodeView& node,
                                        flow::Instant now, pick::Rng& rng) {
  answered_ = first_.get();
  const datapath::Decision decision = first_->decide(connection, node, now, rng);
  if (decision.action != datapath::Action::none) return decision;
  answered_ = second_.get();
  return second_->decide(connection, node, now, rng);
}

store::Result<std::unique_ptr<Subject>> make_subject(const service::Config& config, std::uint32_t clients,
                                                     const store::HashKey& key) {
  std::unique_ptr<Subject> subject;
  if (!config.rules.file.empty()) {
    auto program = ProgramSubject::read(config.rules);
    if (!program) return program.error();
    if (config.services.empty()) return std::unique_ptr<Subject>(std::move(*program));
    subject = std::move(*program);
  }
  auto balancer = BalancerSubject::build(config, clients, key);
  if (!balancer) return store::Error{store::ErrorKind::configuration, balancer.error().message};
  if (subject == nullptr) return std::unique_ptr<Subject>(std::move(*balancer));
  return std::unique_ptr<Subject>(new MixedSubject(std::move(*balancer), std::move(subject)));
}

}  // namespace limpet::lab
