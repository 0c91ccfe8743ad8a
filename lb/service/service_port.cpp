#include "lb/service/service_port.h"

#include <algorithm>
#include <utility>

namespace limpet::service {

ServicePort::ServicePort(std::shared_ptr<const Service> service, ServiceIds ids, const Place& place)
    : service_(std::move(service)), ids_(std::move(ids)), sets_(*service_, place), sources_(service_->source_ranges) {
  if (ids_.affinity_scope != 0) {
    std::vector<IdIndex::Entry> entries;
    entries.reserve(ids_.affinity_ids.size() + ids_.aliases.size());
    for (std::uint32_t i = 0; i < ids_.affinity_ids.size(); ++i) entries.emplace_back(ids_.affinity_ids[i], i);
    entries.insert(entries.end(), ids_.aliases.begin(), ids_.aliases.end());
    by_id_ = IdIndex(entries);
  }
  cluster_ = gather(Set::cluster);
  local_ = gather(Set::local);
}

ServicePort::Members ServicePort::gather(Set set) const {
  Members result;
  std::vector<std::uint32_t> weights;
  result.indices.reserve(service_->endpoints.size());
  weights.reserve(service_->endpoints.size());
  for (std::uint32_t i = 0; i < service_->endpoints.size(); ++i) {
    if (left_out(i, set) != LeftOut::no) continue;
    result.indices.push_back(i);
    weights.push_back(service_->endpoints[i].weight);
  }
  result.table = pick::AliasTable::build(weights);
  return result;
}

std::optional<std::uint32_t> ServicePort::find(std::uint32_t id, Set set) const noexcept {
  const std::optional<std::uint32_t> index = by_id_.find(id);
  if (!index || left_out(*index, set) != LeftOut::no) return std::nullopt;
  return index;
}

datapath::Move ServicePort::move_from(std::uint32_t id) const noexcept {
  const std::optional<std::uint32_t> index = by_id_.find(id);
  if (!index) return datapath::Move::gone;
  const Endpoint& endpoint = service_->endpoints[*index];
  return endpoint.weight == 0 || endpoint.terminating ? datapath::Move::drained : datapath::Move::not_ready;
}

std::vector<std::string> ServicePort::candidates(Set set) const {
  std::vector<std::string> result;
  for (const std::uint32_t index : members(set).indices) result.push_back(address(index).to_string());
  std::sort(result.begin(), result.end());
  return result;
}

}  // namespace limpet::service
