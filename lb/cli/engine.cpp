#include "lb/cli/engine.h"

#include <algorithm>
#include <chrono>
#include <iterator>
#include <new>
#include <string>
#include <utility>

#include "conntrack/flow/take_over.h"
#include "lb/cli/random_key.h"
#include "lb/node/local_ports.h"
#include "lb/service/kubernetes_files.h"
#include "lb/service/pipeline_settings.h"

namespace limpet::cli {

using nlohmann::ordered_json;

namespace {

/// Cannot be an object's: those are namespace/name.
const std::string kNative = "configuration";
/// Expired affinities are taken out after so long at most.
constexpr std::chrono::seconds kAffinityLap{600};
/// Flows that are looked through at once for what lingers: some milliseconds' worth.
constexpr std::size_t kLookedAtOnce = 100'000;

std::vector<service::Group> groups_of(const service::Config& config) {
  const auto end = config.services.begin() +
                   static_cast<std::ptrdiff_t>(config.kubernetes ? config.native_services : config.services.size());
  std::vector<service::Group> groups{
      {.name = kNative, .native = true, .created = {}, .services = {config.services.begin(), end}}};
  if (config.kubernetes) std::ranges::move(config.kubernetes->groups(), std::back_inserter(groups));
  return groups;
}

flow::PortPool node_port_pool(const service::Config& config) {
  const auto ephemeral = node::read_local_ports();
  if (!ephemeral) return service::make_port_pool(config);
  return service::make_port_pool(config, {ephemeral->first, ephemeral->last});
}

queue::ReplyOptions reply_options(const service::Config& config) noexcept {
  return {.mark = config.mark_mask, .per_second = config.replies.per_second, .burst = config.replies.burst};
}

affinity::AffinityOptions affinity_options(const service::Config& config, const State& state) {
  affinity::AffinityOptions options = State::affinity_options(config);
  options.key = state.key(State::Section::affinities);
  options.epoch = state.epoch();
  return options;
}

}  // namespace

Engine::Engine(const service::Config& config, node::NodeView node, std::unique_ptr<State> state)
    : workers_(config.queues.count),
      state_(std::move(state)),
      slots_(config.tables.endpoints, static_cast<std::uint32_t>(random_word())),
      identities_(slots_, State::identity_limits(config), state_->key(State::Section::names),
                  state_->memory(State::Section::names)),
      affinity_(affinity_options(config, *state_), state_->memory(State::Section::affinities)),
      flows_({.capacity = config.tables.flows, .key = state_->key(State::Section::flows), .timeouts = config.timeouts},
             state_->memory(State::Section::flows)),
      ports_(node_port_pool(config)),
      fragments_({.capacity = config.tables.fragments, .key = random_key(), .timeout = config.timeouts.frag}),
      node_(std::make_shared<const node::NodeView>(std::move(node))),
      load_(config.queues.count, config.tables.endpoints),
      counters_(config.queues.count),
      replies_(reply_options(config)),
      catalog_(identities_, config.node, config.icmp_echo),
      epochs_(config.queues.count) {}

store::Result<std::unique_ptr<Engine>> Engine::build(const service::Config& config, node::NodeView node,
                                                     std::unique_ptr<RuleProgram> program) {
  auto state = State::open(config);
  if (!state) return state.error();
  try {
    return assemble(config, node, std::move(*state), std::move(program));
  } catch (const std::bad_alloc&) {
    return store::Error{store::ErrorKind::unavailable,
                        "this machine has no memory left for " + std::to_string(config.tables.fragments) +
                            " fragmented datagrams and the load of " + std::to_string(config.tables.endpoints) +
                            " endpoints: lower tables.fragments or tables.endpoints"};
  }
}

store::Result<std::unique_ptr<Engine>> Engine::assemble(const service::Config& config, const node::NodeView& node,
                                                        std::unique_ptr<State> state,
                                                        std::unique_ptr<RuleProgram> program) {
  const bool adopted = state->adopted();
  std::unique_ptr<Engine> engine(new Engine(config, node, std::move(state)));
  if (adopted && !engine->adopt()) {
    std::unique_ptr<State> again = std::move(engine->state_);
    engine.reset();
    if (const store::Status fresh = again->start_over("its flows are damaged"); !fresh) return fresh.error();
    return assemble(config, node, std::move(again), std::move(program));
  }
  engine->rules_ = std::move(program);
  if (const store::Status named = engine->name_endpoints(config); !named) return named.error();
  engine->make_deciders(config);
  engine->count_plan(node);
  if (adopted) engine->lingering_.adopt(engine->flows_, engine->balanced_plan(node), flow::now());
  datapath::Decider& decider = engine->both_      ? static_cast<datapath::Decider&>(*engine->both_)
                               : engine->program_ ? static_cast<datapath::Decider&>(*engine->program_)
                                                  : *engine->balancer_;
  engine->pipeline_ = std::make_unique<datapath::Pipeline>(service::pipeline_options(config), decider, engine->flows_,
                                                           engine->ports_, engine->fragments_);
  return engine;
}

/// All at once: whoever is not named is forgotten.
store::Status Engine::name_endpoints(const service::Config& config) {
  std::vector<service::Service> theirs;
  if (rules_) theirs = rules_->named_endpoints();
  auto opened = catalog_.open(groups_of(config), theirs, [this](std::uint32_t slot) { return in_use(slot); });
  if (!opened) return opened.error();
  left_out_ = std::move(opened->left_out);
  if (rules_) {
    std::vector<datapath::EndpointId> endpoints;
    for (const service::ServiceIds& each : opened->also) endpoints.push_back(each.endpoints.front());
    program_ = rules_->make(slots_, std::move(endpoints));
  }
  snapshot_ = catalog_.snapshot();
  return store::ok();
}

void Engine::make_deciders(const service::Config& config) {
  balancer_ = std::make_unique<service::Balancer>(slots_, snapshot_, affinity_);
  const bool both = program_ && (snapshot_->size() != 0 || config.kubernetes);
  if (both) both_ = std::make_unique<datapath::DecidersInTurn>(slots_, *balancer_, *program_);
}

store::Result<Engine::Changed> Engine::change(std::vector<service::Group> groups) {
  publish();
  auto change = catalog_.apply(std::move(groups), [this](std::uint32_t slot) { return in_use(slot); });
  if (!change) return change.error();
  Changed changed;
  changed.losses = std::move(change->losses);
  changed.made = change->made;
  changed.ports = change->gone.size() + change->made.size();
  if (change->empty()) return changed;
  const auto look = [&](const service::ServicePort& port, void (flow::PortPool::*count)(std::uint16_t)) {
    const service::Service& service = port.service();
    if (service.node_port != 0) (ports_.*count)(service.node_port);
    changed.health = changed.health || service.health_check_node_port != 0;
  };
  for (const auto& port : change->made) look(*port, &flow::PortPool::add_node_port);
  for (const auto& port : change->gone) look(*port, &flow::PortPool::remove_node_port);
  const auto node = node_.load();
  changed.delta = lingering_.hold(counted_.change(change->snapshot->diversion_of(change->gone, *node),
                                                  change->snapshot->diversion_of(change->made, *node)));
  pending_ = std::move(*change);
  return changed;
}

void Engine::publish() {
  if (!pending_) return;
  slots_.admit(pending_->states);
  epochs_.retire(balancer_->publish(pending_->snapshot, pending_->made));
  slots_.renew_nobody();
  slots_.dismiss(pending_->states);
  snapshot_ = std::move(pending_->snapshot);
  pending_.reset();
  ++published_;
  epochs_.reclaim();
}

std::vector<service::Service> Engine::health_checked() const {
  std::vector<service::Service> services;
  snapshot_->for_each_port([&](const service::ServicePort& port) {
    if (port.service().health_check_node_port != 0) services.push_back(port.service());
  });
  return services;
}

datapath::PlanDelta Engine::let_go() {
  epochs_.reclaim();
  return lingering_.step(flows_, kLookedAtOnce, flow::now());
}

void Engine::count_plan(const node::NodeView& node) {
  counted_ = {};
  counted_.change({}, catalog_.snapshot()->diversion_of(catalog_.snapshot()->ports(), node));
  if (rules_) counted_.change({}, rules_->plan(node));
}

bool Engine::adopt() {
  const auto begin = std::chrono::steady_clock::now();
  const flow::Instant now = flow::now();
  Inheritance found;
  found.flows = flow::take_over(flows_, ports_, [&](const flow::Flow& flow) {
    const bool known = flow.direct || flow.endpoint_id.slot < slots_.capacity();
    if (!known || flow.deadline < now) return false;
    if (!flow.direct) load_.shard(0).on(datapath::FlowEvent::opened, flow.endpoint_id);
    return true;
  });
  if (!found.flows.usable) return false;
  found.affinities = affinity_.recover(now);
  found.took = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - begin);
  inherited_ = found;
  return true;
}

std::vector<std::string> Engine::warnings() const {
  std::vector<std::string> all = state_->warnings();
  all.insert(all.end(), replies_.warnings().begin(), replies_.warnings().end());
  return all;
}

std::string Engine::inheritance() const {
  if (!inherited_) return {};
  const flow::FlowRecovery& flows = inherited_->flows;
  return std::to_string(flows.kept) + " flows and " + std::to_string(affinity_.counts().entries) + " affinities from " +
         state_->path() + " (" + state_->history() + ") in " + std::to_string(inherited_->took.count()) + " ms (" +
         std::to_string(flows.undone + flows.finished + flows.mended) + " flows and " +
         std::to_string(inherited_->affinities.torn_shards) + " shards of affinities were being written)";
}

void Engine::close(bool remove) noexcept {
  if (remove) state_->remove();
  state_->mark_clean();
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
                                        .worker = index},
          &epochs_};
}

datapath::DiversionPlan Engine::update(node::NodeView node) {
  const datapath::DiversionPlan before = balanced_plan(*node_.load());
  next_node_ = std::make_shared<const node::NodeView>(std::move(node));
  datapath::DiversionPlan now = balanced_plan(*next_node_);
  lingering_.hold(difference(before, now));
  count_plan(*next_node_);
  return lingering_.with(std::move(now));
}

void Engine::follow() {
  if (next_node_) node_.publish(std::exchange(next_node_, nullptr));
}

void Engine::sweep_affinity(std::chrono::seconds elapsed) {
  const auto share = affinity_.slots() * static_cast<std::uint64_t>(elapsed.count());
  affinity_.sweep(share / static_cast<std::uint64_t>(kAffinityLap.count()) + 1, flow::now());
}

datapath::DiversionPlan Engine::plan() const {
  return lingering_.with(balanced_plan(*node_.load()));
}

datapath::DiversionPlan Engine::balanced_plan(const node::NodeView& node) const {
  datapath::DiversionPlan plan = catalog_.snapshot()->diversion(node);
  return rules_ ? united(std::move(plan), rules_->plan(node)) : plan;
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
  all["services_published"] = published_;
  all["diversions_lingering"] = lingering_.size();
  all["flows"] = flows_.size();
  all["flows_capacity"] = flows_.capacity();
  all["affinities"] = affinity.entries;
  all["affinities_capacity"] = affinity.capacity;
  all["affinities_provisional"] = affinity.provisional;
  all["affinities_evicted_expired"] = affinity.evicted_expired;
  all["affinities_evicted_provisional"] = affinity.evicted_provisional;
  all["affinities_evicted_confirmed"] = affinity.evicted_confirmed;
  all["affinities_swept"] = affinity.swept;
  if (inherited_) {
    const flow::FlowRecovery& found = inherited_->flows;
    all["inherited_flows"] = found.kept;
    all["inherited_flows_undone"] = found.undone + found.finished;
    all["inherited_flows_mended"] = found.mended;
    all["inherited_flows_damaged"] = found.damaged;
    all["inherited_torn_affinity_shards"] = inherited_->affinities.torn_shards;
  }
  if (rules_) {
    rules_->add_stats(all);
    all["nth_turns"] = program_->nth_turns();
  }
  all["endpoints"] = endpoint_stats();
  return all;
}

ordered_json Engine::endpoint_stats() const {
  ordered_json list = ordered_json::array();
  for (const auto& port : snapshot_->ports()) {
    for (std::uint32_t i = 0; i < port->service().endpoints.size(); ++i) {
      list.push_back(endpoint_stats(port->service().name, port->address(i).to_string(), port->id(i).slot));
    }
  }
  for (std::size_t i = 0; rules_ && i < rules_->ids().size(); ++i) {
    list.push_back(endpoint_stats("rules", rules_->endpoints()[i].text, rules_->ids()[i].slot));
  }
  return list;
}

ordered_json Engine::endpoint_stats(const std::string& service, const std::string& endpoint, std::uint32_t slot) const {
  using datapath::FlowEvent;
  return {{"service", service},
          {"endpoint", endpoint},
          {"opened", load_.count(FlowEvent::opened, slot)},
          {"active", load_.active(slot)},
          {"established", load_.count(FlowEvent::established, slot)},
          {"refused", load_.count(FlowEvent::refused, slot)},
          {"timed_out", load_.count(FlowEvent::timed_out, slot)}};
}

}  // namespace limpet::cli
