// subject.h: what an offline command asks: a Decider with empty tables of its own, and the words for what it decides.
//
//   decider()   the production code, as the workers call it
//   describe()  a decision that it has made, in words; changes nothing
//   tell_time() what the daemon's timers do for its tables: before decisions of this instant are asked for
//
// BalancerSubject is the declared services of a configuration. One thread.
#pragma once

#include <memory>
#include <optional>

#include "conntrack/flow/instant.h"
#include "conntrack/store/result.h"
#include "lb/affinity/affinity_table.h"
#include "lb/datapath/decider.h"
#include "lb/datapath/endpoint_slots.h"
#include "lb/service/balancer.h"
#include "lb/service/config.h"
#include "lb/service/explain.h"

namespace limpet::lab {

class Subject {
 public:
  Subject() = default;
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;
  virtual ~Subject() = default;

  virtual datapath::Decider& decider() noexcept = 0;
  virtual service::Explanation describe(const datapath::NewConnection& connection, const node::NodeView& node,
                                        const datapath::Decision& decision) const = 0;
  /// Does a connection from there begin on the node itself?
  virtual bool is_local(const net::Address& source, const node::NodeView& node) const = 0;
  virtual void tell_time(flow::Instant now) = 0;
};

class BalancerSubject final : public Subject {
 public:
  /// `clients`: entries of the affinity table, for each family. Errors: more endpoints than a table takes.
  static store::Result<std::unique_ptr<BalancerSubject>> build(const service::Config& config, std::uint32_t clients,
                                                               const store::HashKey& key);

  service::Balancer& decider() noexcept override { return *balancer_; }
  service::Explanation describe(const datapath::NewConnection& connection, const node::NodeView& node,
                                const datapath::Decision& decision) const override;
  bool is_local(const net::Address& source, const node::NodeView& node) const override;
  void tell_time(flow::Instant now) override;
  affinity::AffinityCounts affinity_counts() const { return affinity_.counts(); }

 private:
  BalancerSubject(const service::Config& config, std::uint32_t clients, const store::HashKey& key);

  datapath::EndpointSlots slots_;
  affinity::AffinityTable affinity_;
  std::optional<service::Balancer> balancer_;
  service::RejectWith reject_with_;
  std::optional<flow::Instant> swept_;
};

}  // namespace limpet::lab
