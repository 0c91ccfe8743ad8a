#include "lb/control/names.h"

#include <utility>

namespace limpet::control {
namespace {

template <typename Map, typename Key>
const service::ServicePort* find(const Map& map, const Key& key) {
  const auto found = map.find(key);
  return found == map.end() ? nullptr : found->second;
}

}  // namespace

Names::Names(std::shared_ptr<const service::Snapshot> snapshot) : snapshot_(std::move(snapshot)) {
  for (const auto& port : snapshot_->ports()) {
    services_.emplace(port->service().name, port.get());
    if (port->affinity_scope() != 0) scopes_.emplace(port->affinity_scope(), port.get());
    for (std::uint32_t i = 0; i < port->service().endpoints.size(); ++i) {
      endpoints_.emplace(port->id(i).id, Endpoint{port.get(), i});
      endpoints_.emplace(port->affinity_id(i), Endpoint{port.get(), i});  // of several ports, if they share the scope
    }
  }
}

Names::Endpoint Names::endpoint(std::uint32_t id) const {
  const auto found = endpoints_.find(id);
  return found == endpoints_.end() ? Endpoint{} : found->second;
}

const service::ServicePort* Names::scope(std::uint32_t scope) const {
  return find(scopes_, scope);
}

const service::ServicePort* Names::service(const std::string& name) const {
  return find(services_, name);
}

}  // namespace limpet::control
