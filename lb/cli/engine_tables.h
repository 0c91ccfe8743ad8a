// engine_tables.h: the running engine as the API sees it (lb/control/tables.h).
#pragma once

#include <functional>

#include "lb/cli/engine.h"
#include "lb/control/tables.h"

namespace limpet::cli {

class EngineTables final : public control::Tables {
 public:
  using Figures = std::function<nlohmann::ordered_json()>;

  /// `engine` outlives the object; `queues` tells of the workers, `diversion` of the rules: neither is the engine's.
  EngineTables(Engine& engine, Figures queues, Figures diversion)
      : engine_(engine), queues_(std::move(queues)), diversion_(std::move(diversion)) {}

  std::shared_ptr<const service::Snapshot> snapshot() const override { return engine_.snapshot(); }
  control::EndpointFigures figures(flow::EndpointId endpoint) const override;
  std::string service_of(const datapath::NewConnection& connection) const override;
  nlohmann::ordered_json stats() const override;
  nlohmann::ordered_json queues() const override { return queues_(); }
  const affinity::RecentLists* recent_lists() const override {
    return engine_.rules() == nullptr ? nullptr : &engine_.rules()->memory().lists;
  }

  std::optional<Cursor> visit_flows(Cursor from, std::size_t budget,
                                    const std::function<void(const control::FlowEntry&)>& visit) const override;
  std::optional<Cursor> visit_affinity(Cursor from, std::size_t budget,
                                       const std::function<void(const control::AffinityEntry&)>& visit) const override;
  Put put_affinity(const control::AffinityEntry& entry) override;
  std::size_t erase_affinity(std::uint32_t scope, const net::Address& client) override;
  std::size_t erase_affinity_scope(std::uint32_t scope) override;
  std::size_t erase_all_affinity() override;

 private:
  Engine& engine_;
  Figures queues_;
  Figures diversion_;
};

}  // namespace limpet::cli
