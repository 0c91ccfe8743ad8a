#include "lb/cli/engine.h"

#include <algorithm>
#include <new>
#include <random>
#include <string>
#include <utility>

#include <unistd.h>

#include "lb/node/local_ports.h"
#include "lb/service/pipeline_settings.h"

namespace limpet::cli {

using nlohmann::ordered_json;

namespace {

/// Expired affinities are taken out after so long at most.
constexpr std::chrono::seconds kAffinityLap{600};

std::uint64_t random_word() {
  static std::random_device device;
  return std::uint64_t{device()} << 32 | device();
}

store::HashKey random_key() {
  return {random_word(), random_word()};
}

flow::PortPool node_port_pool(const service::Config& config) {
  const auto ephemeral = node::read_local_ports();
  if (!ephemeral) return service::make_port_pool(config);
  return service::make_port_pool(config, {ephemeral->first, ephemeral->last});
}

queue::ReplyOptions reply_options(const service::Config& config) noexcept {
  return {.mark = config.mark_mask, .per_second = config.replies.per_second, .burst = config.replies.burst};
}

affinity::AffinityOptions affinity_options(const service::Config& config) {
  return {.capacity_v4 = config.tables.affinity,
          .capacity_v6 = config.tables.affinity_ipv6,
          .key = random_key(),
          .epoch = flow::now(),
          .workers = config.queues.count};
}

std::uint64_t table_memory(const service::Config& config) {
  return flow::FlowTable::memory(config.tables.flows) + affinity::AffinityTable::memory(affinity_options(config)) +
         flow::FragmentTable::memory(config.tables.fragments);
}

std::uint64_t machine_memory() noexcept {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

store::Error too_large(const service::Config& config, std::uint64_t needed) {
  return {store::ErrorKind::unavailable, "tables: " + std::to_string(config.tables.flows) + " flows, " +
                                             std::to_string(config.tables.affinity) + " affinities and " +
                                             std::to_string(config.tables.fragments) + " fragmented datagrams take " +
                                             std::to_string(needed >> 20) + " MiB; this machine does not have them (" +
                                             std::to_string(machine_memory() >> 20) +
                                             " MiB in all): lower tables.flows, tables.affinity or tables.fragments"};
}

}  // namespace

Engine::Engine(const service::Config& config, node::NodeView node, std::uint32_t endpoints)
    : workers_(config.queues.count),
      slots_(endpoints),
      affinity_(affinity_options(config)),
      flows_({.capacity = config.tables.flows, .key = random_key(), .timeouts = config.timeouts}),
      ports_(node_port_pool(config)),
      fragments_({.capacity = config.tables.fragments, .key = random_key(), .timeout = config.timeouts.frag}),
      node_(std::make_shared<const node::NodeView>(std::move(node))),
      load_(config.queues.count, endpoints),
      counters_(config.queues.count),
      replies_(reply_options(config)) {}

store::Result<std::unique_ptr<Engine>> Engine::build(const service::Config& config, node::NodeView node) {
  const std::uint64_t needed = table_memory(config);
  if (needed > machine_memory()) return too_large(config, needed);
  try {
    return assemble(config, std::move(node));
  } catch (const std::bad_alloc&) {
    return too_large(config, needed);
  }
}

store::Result<std::unique_ptr<Engine>> Engine::assemble(const service::Config& config, node::NodeView node) {
  std::unique_ptr<Engine> engine(new Engine(config, std::move(node), service::count_endpoints(config.services)));
  auto snapshot = service::Snapshot::build(config, engine->identities_);
  if (!snapshot) return snapshot.error();
  engine->snapshot_ = std::move(*snapshot);
  engine->balancer_ = std::make_unique<service::Balancer>(engine->slots_, engine->snapshot_, engine->affinity_);
  engine->pipeline_ = std::make_unique<datapath::Pipeline>(service::pipeline_options(config), *engine->balancer_,
                                                           engine->flows_, engine->ports_, engine->fragments_);
  return engine;
}

queue::PipelineHandler Engine::handler(unsigned index) {
  datapath::WorkerContext context{pick::Rng(random_word()), counters_[index], load_.shard(index)};
  return {*pipeline_,
          flows_,
          node_,
          context,
          workers_,
          &replies_,
          queue::PipelineHandler::Watch{.reader = datapath::Published<datapath::Observers>::Reader(observers_),
                                        .worker = index}};
}

datapath::DiversionPlan Engine::update(node::NodeView node) {
  node_.publish(std::make_shared<const node::NodeView>(std::move(node)));
  return plan();
}

void Engine::sweep_affinity(std::chrono::seconds elapsed) {
  const auto share = affinity_.slots() * static_cast<std::uint64_t>(elapsed.count());
  affinity_.sweep(share / static_cast<std::uint64_t>(kAffinityLap.count()) + 1, flow::now());
}

datapath::DiversionPlan Engine::plan() const {
  return snapshot_->diversion(*node_.load());
}

ordered_json Engine::stats() const {
  ordered_json all;
  for (std::size_t i = 0; i < datapath::kCounters; ++i) {
    const auto counter = static_cast<datapath::Counter>(i);
    std::uint64_t sum = 0;
    for (const datapath::Counters& counters : counters_) sum += counters[counter];
    all[std::string(to_string(counter))] = sum;
  }
  const queue::ReplyCounts replies = replies_.counts();
  all["replies_sent"] = replies.sent;
  all["replies_suppressed"] = replies.suppressed;
  all["replies_failed"] = replies.failed;
  const affinity::AffinityCounts affinity = affinity_.counts();
  all["flows"] = flows_.size();
  all["flows_capacity"] = flows_.capacity();
  all["affinities"] = affinity.entries;
  all["affinities_capacity"] = affinity.capacity;
  all["affinities_provisional"] = affinity.provisional;
  all["affinities_evicted_expired"] = affinity.evicted_expired;
  all["affinities_evicted_provisional"] = affinity.evicted_provisional;
  all["affinities_evicted_confirmed"] = affinity.evicted_confirmed;
  all["affinities_swept"] = affinity.swept;
  all["endpoints"] = endpoint_stats();
  return all;
}

ordered_json Engine::endpoint_stats() const {
  using datapath::FlowEvent;
  ordered_json list = ordered_json::array();
  for (const auto& port : snapshot_->ports()) {
    for (std::uint32_t i = 0; i < port->service().endpoints.size(); ++i) {
      const std::uint32_t slot = port->id(i).slot;
      list.push_back({{"service", port->service().name},
                      {"endpoint", port->address(i).to_string()},
                      {"opened", load_.count(FlowEvent::opened, slot)},
                      {"active", load_.active(slot)},
                      {"established", load_.count(FlowEvent::established, slot)},
                      {"refused", load_.count(FlowEvent::refused, slot)},
                      {"timed_out", load_.count(FlowEvent::timed_out, slot)}});
    }
  }
  return list;
}

}  // namespace limpet::cli
