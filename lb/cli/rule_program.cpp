#include "lb/cli/rule_program.h"

#include <algorithm>
#include <utility>

#include "lb/cli/random_key.h"
#include "lb/rules/jiffies.h"

namespace limpet::cli {
namespace {

constexpr std::uint32_t kAnyTick = 250;

affinity::RecentOptions recent_options(const service::RulesConfig& config, std::uint32_t ticks) {
  return {.capacity = config.ip_list_tot,
          .least_stamps = config.ip_pkt_list_tot,
          .per_second = ticks,
          .key = random_key(),
          .memory = std::uint64_t{config.recent_mib} << 20};
}

/// Does the service listen where the rules translate?
bool meets(const service::Service& service, const rules::Places& places) {
  const auto holds = [&](const net::Address& vip) { return places.holds(service.protocol, {vip, service.port}); };
  if (service.cluster_ip && holds(*service.cluster_ip)) return true;
  if (std::ranges::any_of(service.external_ips, holds)) return true;
  if (std::ranges::any_of(service.load_balancer_ips, holds)) return true;
  return service.node_port != 0 && places.local && places.protocol == service.protocol &&
         places.first.family() == service.family() && places.ports.contains(service.node_port);
}

std::string counted(std::size_t n, const std::string& noun) {
  return std::to_string(n) + " " + noun + (n == 1 ? "" : "s");
}

}  // namespace

RuleProgram::RuleProgram(const service::Config& config, std::uint32_t ticks)
    : file_(config.rules.file),
      localhost_(config.node.localhost_node_ports),
      memory_(recent_options(config.rules, ticks),
              config.rules.nth_persists ? rules::NthOnReload::persist : rules::NthOnReload::reset),
      diversion_({}, file_) {}

store::Result<std::unique_ptr<RuleProgram>> RuleProgram::load(const service::Config& config, std::uint32_t ticks) {
  std::unique_ptr<RuleProgram> program(new RuleProgram(config, ticks));
  const service::RulesConfig& from = config.rules;
  auto loaded = rules::load_program(
      {.file = from.file, .ipsets = from.ipsets, .lenient = from.lenient, .compiled = from.compiled}, program->memory_);
  if (!loaded) return loaded.error();
  program->loaded_ = std::move(*loaded);
  program->rules_ = program->loaded_.linked.rules;
  program->diversion_ = rules::Diversion(*program->rules_, from.file);
  const auto& undivertable = program->diversion_.errors();
  if (!undivertable.empty() && !from.lenient) return rules::all_of(undivertable);
  program->endpoints_ = rules::endpoints_of(*program->rules_);
  for (const store::LineError& error : program->loaded_.skipped) {
    program->remarks_.push_back(store::to_string(error) + "; left out");
  }
  for (const store::LineError& error : undivertable) {
    program->remarks_.push_back(store::to_string(error) + "; not diverted");
  }
  program->remark_on_overlaps(config.services);
  return program;
}

store::Result<std::unique_ptr<RuleProgram>> RuleProgram::open(const service::Config& config) {
  if (config.rules.file.empty()) return std::unique_ptr<RuleProgram>();
  if (config.rules.hz != 0) return load(config, config.rules.hz);
  const auto jiffies = rules::read_jiffies();
  if (jiffies) return load(config, jiffies->per_second);
  store::Error error = jiffies.error();
  error.message += "; write rules.hz into the configuration";
  return error;
}

store::Result<std::unique_ptr<RuleProgram>> RuleProgram::inspect(const service::Config& config) {
  if (config.rules.file.empty()) return std::unique_ptr<RuleProgram>();
  return load(config, kAnyTick);
}

void RuleProgram::remark_on_overlaps(const std::vector<service::Service>& services) {
  for (const service::Service& service : services) {
    const auto& doors = diversion_.doors();
    const auto met = std::ranges::find_if(doors, [&](const auto& door) { return meets(service, door.places); });
    if (met == doors.end()) continue;
    remarks_.push_back(file_ + ":" + std::to_string(met->line) + ": service " + service.name +
                       " listens where this rule translates: the service has these connections");
  }
}

/// Names that no declared service can have, for theirs have no spaces.
std::vector<service::Service> RuleProgram::named_endpoints() const {
  std::vector<service::Service> services;
  for (const rules::ProgramEndpoint& endpoint : endpoints_) {
    service::Service& service = services.emplace_back();
    service.name = "rules " + endpoint.text;
    service.endpoints.push_back({.at = endpoint.first, .node_name = {}});
  }
  return services;
}

std::unique_ptr<rules::Program> RuleProgram::make(const datapath::EndpointSlots& slots,
                                                  std::vector<datapath::EndpointId> ids) {
  ids_ = std::move(ids);
  return std::make_unique<rules::Program>(slots, std::move(loaded_.linked), memory_, ids_);
}

std::string_view RuleProgram::service_of(net::Protocol protocol, const net::AddressPort& at,
                                         const node::NodeView& node) const {
  const auto* const door = diversion_.door_at(protocol, at, node.is_local(at.address));
  return door == nullptr ? std::string_view() : door->service;
}

void RuleProgram::add_stats(nlohmann::ordered_json& all) const {
  affinity::RecentCounts sum;
  const std::vector<std::string> names = memory_.lists.names();
  for (const std::string& name : names) {
    const auto list = memory_.lists.find(name);
    if (!list) continue;
    const affinity::RecentCounts counts = list->counts();
    sum.entries += counts.entries;
    sum.evicted += counts.evicted;
    sum.starved += counts.starved;
    sum.reaped += counts.reaped;
    sum.flushed += counts.flushed;
  }
  all["recent_lists"] = names.size();
  all["recent_capacity"] = memory_.lists.options().capacity;  // of each; 0: unlimited
  all["recent_clients"] = sum.entries;
  all["recent_evicted"] = sum.evicted;
  all["recent_starved"] = sum.starved;
  all["recent_reaped"] = sum.reaped;
  all["recent_flushed"] = sum.flushed;
}

std::string RuleProgram::summary() const {
  return file_ + ": " + counted(rules::count_rules(*rules_), "rule") + ", " + counted(endpoints_.size(), "endpoint");
}

std::string RuleProgram::completion() const {
  return rules::print(loaded_.added, rules_->family);
}

}  // namespace limpet::cli
