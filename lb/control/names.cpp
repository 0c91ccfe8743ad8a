#include "lb/control/names.h"

#include <algorithm>
#include <utility>

namespace limpet::control {
namespace {

std::size_t index_of(net::Family family) {
  return family == net::Family::v4 ? 0 : 1;
}

}  // namespace

Names::Names(std::shared_ptr<const service::Snapshot> snapshot)
    : snapshot_(std::move(snapshot)), ports_(snapshot_->ports()) {
  for (const auto& port : ports_) {
    services_.emplace(port->service().name, port.get());
    if (port->affinity_scope() != 0) {
      Scope& scope = scopes_[port->affinity_scope()];
      if (scope.first == nullptr) scope.first = port.get();
      scope.prefix[index_of(port->service().family())] = port->service().affinity_prefix;
    }
    for (std::uint32_t i = 0; i < port->service().endpoints.size(); ++i) {
      const std::uint32_t id = port->id(i).id;
      endpoints_[id].push_back({port.get(), i});
      const std::uint32_t remembered = port->affinity_id(i);
      if (remembered != id && remembered != 0) endpoints_[remembered].push_back({port.get(), i});
    }
  }
}

Names::Endpoint Names::endpoint(std::uint32_t id) const {
  const auto all = endpoints(id);
  return all.empty() ? Endpoint{} : all.front();
}

std::span<const Names::Endpoint> Names::endpoints(std::uint32_t id) const {
  const auto found = endpoints_.find(id);
  return found == endpoints_.end() ? std::span<const Endpoint>() : found->second;
}

const service::ServicePort* Names::scope(std::uint32_t scope) const {
  const auto found = scopes_.find(scope);
  return found == scopes_.end() ? nullptr : found->second.first;
}

net::Prefix Names::network(std::uint32_t scope, const net::Address& client) const {
  const auto found = scopes_.find(scope);
  const unsigned bits = found == scopes_.end() ? 0 : found->second.prefix[index_of(client.family())];
  return {client, bits == 0 ? client.bits() : std::min(bits, client.bits())};
}

const service::ServicePort* Names::service(const std::string& name) const {
  const auto found = services_.find(name);
  return found == services_.end() ? nullptr : found->second;
}

}  // namespace limpet::control
