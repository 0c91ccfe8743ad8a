// subject.h: what an offline command asks: a Decider with empty tables of its own, and the words for what it decides.
//
//   tell_time()  what the daemon's timers do for its tables: before decisions of this instant are asked for
//   decide()     the production code's Decider, as the workers call it. A client that is given an endpoint is confirmed at
//                once: who stands in a record of connections has proved itself
//   describe()   the decision just made, in words; changes nothing
//
//   BalancerSubject   the declared services of a configuration
//   ProgramSubject    an iptables program (program_subject.h)
//   MixedSubject      the first, and the second for what is none of its own
//
// One thread.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

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

  virtual datapath::Decision decide(const datapath::NewConnection& connection, const node::NodeView& node,
                                    flow::Instant now, pick::Rng& rng) = 0;
  virtual service::Explanation describe(const datapath::NewConnection& connection, const node::NodeView& node,
                                        const datapath::Decision& decision) const = 0;
  /// Does a connection from there begin on the node itself?
  virtual bool is_local(const net::Address& source, const node::NodeView& node) const = 0;
  virtual void tell_time(flow::Instant now) = 0;
  /// What a person should know of it before anything is asked, in lines.
  virtual std::vector<std::string> remarks() const { return {}; }
};

class BalancerSubject final : public Subject {
 public:
  /// `clients`: entries of the affinity table, for each family. Errors: more endpoints than a table takes.
  static store::Result<std::unique_ptr<BalancerSubject>> build(const service::Config& config, std::uint32_t clients,
                                                               const store::HashKey& key);

  datapath::Decision decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                            pick::Rng& rng) override;
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

class MixedSubject final : public Subject {
 public:
  MixedSubject(std::unique_ptr<Subject> first, std::unique_ptr<Subject> second)
      : first_(std::move(first)), second_(std::move(second)) {}

  datapath::Decision decide(const datapath::NewConnection& connection, const node::NodeView& node, flow::Instant now,
                            pick::Rng& rng) override;
  service::Explanation describe(const datapath::NewConnection& connection, const node::NodeView& node,
                                const datapath::Decision& decision) const override {
    return answered_->describe(connection, node, decision);
  }
  bool is_local(const net::Address& source, const node::NodeView& node) const override {
    return first_->is_local(source, node);
  }
  void tell_time(flow::Instant now) override {
    first_->tell_time(now);
    second_->tell_time(now);
  }
  std::vector<std::string> remarks() const override {
    std::vector<std::string> lines = first_->remarks();
    for (std::string& line : second_->remarks()) lines.push_back(std::move(line));
    return lines;
  }

 private:
  std::unique_ptr<Subject> first_, second_;
  Subject* answered_ = nullptr;
};

/// Of all that `config` declares. Errors: configuration: more endpoints than a table takes, a program that cannot be
/// read or honoured.
store::Result<std::unique_ptr<Subject>> make_subject(const service::Config& config, std::uint32_t clients,
                                                     const store::HashKey& key);

}  // namespace limpet::lab
