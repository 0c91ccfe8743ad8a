#include "lb/cli/state.h"

#include <new>
#include <utility>

#include <unistd.h>

#include "conntrack/flow/flow_table.h"
#include "lb/cli/random_key.h"
#include "lb/node/instance_name.h"

namespace limpet::cli {

namespace {

std::uint64_t machine_memory() noexcept {
  return static_cast<std::uint64_t>(::sysconf(_SC_PHYS_PAGES)) * static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE));
}

store::Error too_large(const std::vector<store::SectionSpec>& sections) {
  std::uint64_t needed = 0;
  std::string parts;
  for (const store::SectionSpec& section : sections) {
    needed += section.bytes;
    parts += (parts.empty() ? "" : ", ") + section.name + " " + std::to_string(section.bytes >> 20) + " MiB";
  }
  return {store::ErrorKind::unavailable,
          "tables: " + parts + "; this machine does not have them (" + std::to_string(machine_memory() >> 20) +
              " MiB in all): lower tables.flows, tables.affinity or tables.affinityIPv6"};
}

}  // namespace

State::Anonymous::Anonymous(const std::vector<store::SectionSpec>& sections) : epoch(flow::now()) {
  for (const store::SectionSpec& section : sections) {
    memory.push_back(std::make_unique<store::ZeroedMemory>(section.bytes));
    bytes.push_back(section.bytes);
    keys.push_back(random_key());
  }
}

store::Result<std::unique_ptr<State>> State::open(const service::Config& config) {
  const std::vector<store::SectionSpec> wanted = sections(config);
  std::uint64_t needed = 0;
  for (const store::SectionSpec& section : wanted) needed += section.bytes;
  if (needed > machine_memory()) return too_large(wanted);

  auto state = std::make_unique<State>();
  if (config.state_path == "none") {
    try {
      state->anonymous_.emplace(wanted);
    } catch (const std::bad_alloc&) {
      return too_large(wanted);
    }
    return state;
  }
  const std::string instance = config.instance.empty() ? node::instance_name() : config.instance;
  const std::string path =
      config.state_path == "auto" ? store::MappedRegion::default_path(instance) : config.state_path;
  auto region = store::MappedRegion::open({.path = path, .instance = instance, .sections = wanted});
  if (!region) return region.error();
  state->region_.emplace(std::move(*region));
  return state;
}

std::vector<store::SectionSpec> State::sections(const service::Config& config) {
  const service::IdentityLimits names = identity_limits(config);
  return {{"flows", flow::FlowTable::memory(config.tables.flows), flow::FlowTable::layout()},
          {"affinities", affinity::AffinityTable::memory(affinity_options(config)),
           affinity::AffinityTable::layout(affinity_options(config))},
          {"names", service::Identities::memory(names), service::Identities::layout(names)}};
}

affinity::AffinityOptions State::affinity_options(const service::Config& config) {
  affinity::AffinityOptions options;
  options.capacity_v4 = config.tables.affinity;
  options.capacity_v6 = config.tables.affinity_ipv6;
  return options;
}

service::IdentityLimits State::identity_limits(const service::Config& config) noexcept {
  return {config.tables.endpoints, config.tables.scopes};
}

std::span<std::byte> State::memory(Section section) const noexcept {
  const auto index = static_cast<unsigned>(section);
  if (region_) return region_->section(index);
  return {anonymous_->memory[index]->data(), anonymous_->bytes[index]};
}

const store::HashKey& State::key(Section section) const noexcept {
  const auto index = static_cast<unsigned>(section);
  return region_ ? region_->seed(index) : anonymous_->keys[index];
}

flow::Instant State::epoch() const noexcept {
  return region_ ? flow::Instant(region_->epoch()) : anonymous_->epoch;
}

std::string State::history() const {
  if (!adopted()) return {};
  return "start " + std::to_string(region_->starts()) + " of it, " +
         (region_->was_clean() ? "after a clean stop" : "after a kill or a crash");
}

const std::vector<std::string>& State::warnings() const noexcept {
  static const std::vector<std::string> none;
  return region_ ? region_->warnings() : none;
}

void State::mark_clean() noexcept {
  if (region_) region_->mark_clean();
}

void State::remove() noexcept {
  if (region_) region_->remove();
}

}  // namespace limpet::cli
