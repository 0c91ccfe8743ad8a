#include "lb/service/service_port.h"

#include <algorithm>
#include <utility>

namespace limpet::service {

ServicePort::ServicePort(Service service, ServiceIds ids, std::string_view node_name)
    : service_(std::move(service)), ids_(std::move(ids)) {
  const auto count = static_cast<std::uint32_t>(service_.endpoints.size());
  on_this_node_.reserve(count);
  by_id_.reserve(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::string& node = service_.endpoints[i].node_name;
    on_this_node_.push_back(!node.empty() && node == node_name);
    by_id_.emplace(ids_.affinity_ids[i], i);
  }
  by_id_.insert(ids_.aliases.begin(), ids_.aliases.end());
  cluster_ = gather(Set::cluster);
  local_ = gather(Set::local);
}

ServicePort::Members ServicePort::gather(Set set) const {
  Members result;
  std::vector<std::uint32_t> weights;
  for (std::uint32_t i = 0; i < service_.endpoints.size(); ++i) {
    if (!left_out(i, set).empty()) continue;
    result.indices.push_back(i);
    weights.push_back(service_.endpoints[i].weight);
  }
  result.table = pick::AliasTable::build(weights);
  return result;
}

std::optional<std::uint32_t> ServicePort::find(std::uint32_t id, Set set) const noexcept {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return std::nullopt;
  const std::uint32_t index = found->second;
  if (!left_out(index, set).empty()) return std::nullopt;
  return index;
}

datapath::Move ServicePort::move_from(std::uint32_t id) const noexcept {
  const auto found = by_id_.find(id);
  if (found == by_id_.end()) return datapath::Move::gone;
  return service_.endpoints[found->second].weight == 0 ? datapath::Move::drained : datapath::Move::not_ready;
}

std::string_view ServicePort::left_out(std::uint32_t index, Set set) const noexcept {
  if (service_.endpoints[index].weight == 0) return "weight 0";
  if (set == Set::local && !on_this_node_[index]) return "not on this node";
  return {};
}

std::vector<std::string> ServicePort::candidates(Set set) const {
  std::vector<std::string> result;
  for (const std::uint32_t index : members(set).indices) result.push_back(address(index).to_string());
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace limpet::service
