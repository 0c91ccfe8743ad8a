#include "lb/node/route_table.h"

#include <algorithm>
#include <functional>
#include <utility>

namespace limpet::node {

namespace {

std::size_t family_index(const net::Address& address) noexcept {
  return address.is_v4() ? 0 : 1;
}

}  // namespace

std::size_t RouteTable::KeyHash::operator()(const Key& key) const noexcept {
  const std::uint64_t rest = std::uint64_t{key.interface} << 8 | key.prefix.length();
  return AddressHash{}(key.prefix.address()) ^ static_cast<std::size_t>(rest * 0xff51afd7ed558ccd);
}

RouteTable::RouteTable(std::vector<Route> routes) : routes_(std::move(routes)) {
  std::stable_sort(routes_.begin(), routes_.end(), [](const Route& a, const Route& b) { return a.metric < b.metric; });
  index_.reserve(2 * routes_.size());
  for (std::size_t i = 0; i < routes_.size(); ++i) {
    const Route& route = routes_[i];
    index_.try_emplace(Key{route.destination, route.interface}, i);
    index_.try_emplace(Key{route.destination, 0}, i);
    lengths_[family_index(route.destination.address())].push_back(route.destination.length());
  }
  for (auto& lengths : lengths_) {
    std::sort(lengths.begin(), lengths.end(), std::greater<>{});
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  }
}

const Route* RouteTable::find(const net::Address& destination, std::uint32_t interface) const noexcept {
  for (const unsigned length : lengths_[family_index(destination)]) {
    if (const Route* route = at({net::Prefix(destination, length), interface})) return route;
  }
  return nullptr;
}

const Route* RouteTable::at(const Key& key) const noexcept {
  const auto found = index_.find(key);
  return found != index_.end() ? &routes_[found->second] : nullptr;
}

}  // namespace limpet::node
