// engine.h: everything that a running limpet is made of, built from a configuration, without a queue or a rule yet.
//
//   State: the memory of Identities, AffinityTable and FlowTable
//
//   Config ─▶ Identities, Snapshot ─▶ Balancer ─┐
//             AffinityTable ────────────────────┤
//             RuleProgram ─▶ rules::Program ────┤    asked about what is none of the Balancer's
//             FlowTable, PortPool ──────────────┼─▶ Pipeline ◀── workers (one WorkerContext each)
//             NodeView, followed live ──────────┘         └──▶ ReplySender: what limpet answers itself
//
// Where another process has left its tables, build() adopts them before anything else: what a kill has torn is mended,
// live flows get their ports back and count as their endpoints' load, names keep their ids. What they are reached by stays
// diverted until they have ended, though their endpoint or service may have left (lingering.h).
//
// Services change while it runs: change() gives names to what is new and says what must be diverted, publish() lets the
// workers decide by it; what they may still read is freed when they have moved on (epochs.h).
//
// Owns the tables; outlives the workers. The control thread alone calls what is not const.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "conntrack/flow/flow_table.h"
#include "conntrack/flow/fragment_table.h"
#include "conntrack/flow/port_pool.h"
#include "conntrack/store/result.h"
#include "lb/affinity/affinity_table.h"
#include "lb/cli/rule_program.h"
#include "lb/cli/state.h"
#include "lb/datapath/counted_plan.h"
#include "lb/datapath/counters.h"
#include "lb/datapath/deciders_in_turn.h"
#include "lb/datapath/diversion_plan.h"
#include "lb/datapath/endpoint_load.h"
#include "lb/datapath/epochs.h"
#include "lb/datapath/lingering.h"
#include "lb/datapath/observer.h"
#include "lb/datapath/pipeline.h"
#include "lb/datapath/published.h"
#include "lb/node/node_view.h"
#include "lb/queue/pipeline_handler.h"
#include "lb/queue/reply_sender.h"
#include "lb/service/balancer.h"
#include "lb/service/catalog.h"
#include "lb/service/config.h"
#include "lb/service/identities.h"

namespace limpet::cli {

class Engine {
 public:
  /// `program`: null if the configuration has none. unavailable: the tables do not fit into this machine's memory, or
  /// another process has them.
  static store::Result<std::unique_ptr<Engine>> build(const service::Config& config, node::NodeView node,
                                                      std::unique_ptr<RuleProgram> program);

  /// For the worker of queue `index`, counted from 0.
  queue::PipelineHandler handler(unsigned index);

  /// The node has changed. Returns what must be diverted before follow(): replies to the address that masquerades then.
  datapath::DiversionPlan update(node::NodeView node);
  /// From here on workers see that node.
  void follow();
  datapath::DiversionPlan plan() const;

  struct Changed {
    datapath::PlanDelta delta;        // of what must be diverted, from now on until the next
    std::vector<std::string> losses;  // Catalog's
    service::Snapshot::Ports made;    // that are new, or others
    std::size_t ports = 0;            // service ports that are gone, or new, or others
    bool health = false;              // a healthCheckNodePort is among them
  };
  /// The groups take the places of those of their names; decisions are the former ones until publish(). Errors:
  /// configuration: the tables are too small; nothing has changed.
  store::Result<Changed> change(std::vector<service::Group> groups);
  void publish();
  /// Services of Kubernetes that build() has left out: they do not fit into the tables.
  std::vector<service::Group> take_left_out() noexcept { return std::exchange(left_out_, {}); }
  /// Those that have a healthCheckNodePort.
  std::vector<service::Service> health_checked() const;
  /// Once in a while: frees what was replaced; returns what no connection needs diverted any longer.
  datapath::PlanDelta let_go();

  /// Once in a while, with the time since the last call: takes out expired affinities, a part of the table at a time.
  void sweep_affinity(std::chrono::seconds elapsed);
  std::shared_ptr<const node::NodeView> node() const { return node_.load(); }

  // For who looks on: control thread.
  std::shared_ptr<const service::Snapshot> snapshot() const noexcept { return snapshot_; }
  const datapath::EndpointSlots& slots() const noexcept { return slots_; }
  const datapath::EndpointLoad& load() const noexcept { return load_; }
  flow::FlowTable& flows() noexcept { return flows_; }
  affinity::AffinityTable& affinity() noexcept { return affinity_; }
  /// nullptr: no iptables program runs.
  const RuleProgram* rules() const noexcept { return rules_.get(); }
  /// Who is published here is told of every packet.
  datapath::Published<datapath::Observers>& observers() noexcept { return observers_; }

  /// What clients will miss, and what has become of an older state, in words: to be logged.
  std::vector<std::string> warnings() const;
  bool inherits() const noexcept { return inherited_.has_value(); }
  /// What was taken over from the process before, in words; empty: nothing.
  std::string inheritance() const;
  /// After the workers: the state is complete, or (`remove`) nobody is to go on from it.
  void close(bool remove) noexcept;

  /// Every counter by name, summed over the workers; what became of answers; tables' sizes; each endpoint's load.
  nlohmann::ordered_json stats() const;

 private:
  /// What was found in an adopted state.
  struct Inheritance {
    flow::FlowRecovery flows;
    affinity::RecoveryCounts affinities;
    std::chrono::milliseconds took{};
  };

  Engine(const service::Config& config, node::NodeView node, std::unique_ptr<State> state);
  static store::Result<std::unique_ptr<Engine>> assemble(const service::Config& config, const node::NodeView& node,
                                                         std::unique_ptr<State> state,
                                                         std::unique_ptr<RuleProgram> program);
  /// False: the flows cannot be used.
  bool adopt();
  store::Status name_endpoints(const service::Config& config);
  void make_deciders(const service::Config& config);
  /// What services and program ask for.
  datapath::DiversionPlan balanced_plan(const node::NodeView& node) const;
  /// The same, counted anew.
  void count_plan(const node::NodeView& node);
  bool in_use(std::uint32_t slot) const noexcept { return load_.active(slot) != 0; }
  nlohmann::ordered_json endpoint_stats() const;
  nlohmann::ordered_json endpoint_stats(const std::string& service, const std::string& endpoint,
                                        std::uint32_t slot) const;

  unsigned workers_;
  std::unique_ptr<State> state_;  // the tables lie in it
  datapath::EndpointSlots slots_;
  service::Identities identities_;
  affinity::AffinityTable affinity_;
  flow::FlowTable flows_;
  flow::PortPool ports_;
  flow::FragmentTable fragments_;
  datapath::Published<node::NodeView> node_;
  std::shared_ptr<const node::NodeView> next_node_;  // to be followed
  datapath::Published<datapath::Observers> observers_{std::make_shared<const datapath::Observers>()};
  datapath::EndpointLoad load_;
  std::vector<datapath::Counters> counters_;  // one a worker
  queue::ReplySender replies_;
  service::Catalog catalog_;
  datapath::Epochs epochs_;
  datapath::CountedPlan counted_;
  datapath::Lingering lingering_;
  std::shared_ptr<const service::Snapshot> snapshot_;  // the one published
  std::optional<service::SnapshotChange> pending_;     // to be published
  std::uint64_t published_ = 0;
  std::vector<service::Group> left_out_;
  std::unique_ptr<service::Balancer> balancer_;
  std::unique_ptr<RuleProgram> rules_;
  std::unique_ptr<rules::Program> program_;
  std::unique_ptr<datapath::DecidersInTurn> both_;
  std::unique_ptr<datapath::Pipeline> pipeline_;
  std::optional<Inheritance> inherited_;
};

}  // namespace limpet::cli
