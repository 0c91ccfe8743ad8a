#include "lb/service/identities.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <new>
#include <numeric>
#include <unordered_set>

namespace limpet::service {

struct Identities::Header {
  std::atomic<std::uint32_t> next_id;     // 0 in fresh memory, as 1
  std::atomic<std::uint32_t> next_scope;  // likewise
};

struct Identities::EndpointRecord {
  std::atomic<std::uint32_t> id;           // 0: free
  std::atomic<std::uint32_t> affinity_id;  // 0: not reachable
  std::uint16_t port;
  net::Family family;
  std::array<std::uint8_t, 16> address;
  NameHash name;
};

struct Identities::ScopeRecord {
  std::atomic<std::uint32_t> scope;  // 0: free
  NameHash name;
};

namespace {

std::uint8_t state_of(const Endpoint& endpoint) {
  constexpr std::uint8_t kServing = datapath::EndpointSlots::serving;
  constexpr std::uint8_t kReady = datapath::EndpointSlots::ready;
  const bool serves = endpoint.ready || endpoint.serving;
  return (serves ? kServing : 0) | (endpoint.ready && endpoint.weight != 0 ? kReady : 0);
}

/// Who shares a scope shares its clients' choices by address: the port is each service port's own. In its place stands
/// how many endpoints of the service at this address have a lower one. In the order of its endpoints.
std::vector<net::AddressPort> address_names(const Service& service) {
  std::vector<std::uint32_t> order(service.endpoints.size());
  std::iota(order.begin(), order.end(), 0);
  std::ranges::stable_sort(order, {}, [&](std::uint32_t index) { return service.endpoints[index].at; });
  std::vector<net::AddressPort> names(order.size());
  std::uint16_t rank = 0;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const net::Address& address = service.endpoints[order[i]].at.address;
    const bool again = i > 0 && address == service.endpoints[order[i - 1]].at.address;
    rank = again ? static_cast<std::uint16_t>(rank + 1) : std::uint16_t{0};
    names[order[i]] = {address, rank};
  }
  return names;
}

bool remembers_addresses(const Service& service) {
  return service.affinity_timeout && service.shares_affinity();
}

std::vector<bool> reachable_from(const Service& service, const std::optional<Place>& place) {
  std::vector<bool> result(service.endpoints.size(), true);
  if (!place) return result;
  const EndpointSets sets(service, *place);
  for (std::uint32_t i = 0; i < result.size(); ++i) result[i] = is_reachable(service, sets, i);
  return result;
}

/// Uses up a number, and returns it.
std::uint32_t take(std::atomic<std::uint32_t>& next) noexcept {
  const std::uint32_t number = std::max(next.load(std::memory_order_relaxed), 1U);
  next.store(number + 1, std::memory_order_release);
  return number;
}

store::Error no_room(const std::string& what) {
  return {store::ErrorKind::configuration, what};
}

}  // namespace

Identities::Identities(datapath::EndpointSlots& slots)
    : slots_(slots),
      limits_{slots.capacity(), std::max<std::uint32_t>(slots.capacity(), 1024)},
      own_memory_(new std::uint64_t[memory(limits_) / sizeof(std::uint64_t)]()) {
  attach(std::as_writable_bytes(std::span(own_memory_.get(), memory(limits_) / sizeof(std::uint64_t))));
}

Identities::Identities(datapath::EndpointSlots& slots, const IdentityLimits& limits, const store::HashKey& key,
                       std::span<std::byte> memory)
    : slots_(slots), limits_(limits), key_(key) {
  attach(memory);
}

Identities::~Identities() = default;

std::size_t Identities::memory(const IdentityLimits& limits) noexcept {
  static_assert(sizeof(Header) == 8 && sizeof(EndpointRecord) % 8 == 0 && sizeof(ScopeRecord) % 8 == 0);
  return sizeof(Header) + sizeof(EndpointRecord) * limits.endpoints + sizeof(ScopeRecord) * limits.scopes;
}

std::string Identities::layout(const IdentityLimits& limits) {
  return "names 2: " + std::to_string(limits.endpoints) + " endpoints of " + std::to_string(sizeof(EndpointRecord)) +
         " bytes, " + std::to_string(limits.scopes) + " scopes of " + std::to_string(sizeof(ScopeRecord));
}

/// Reads what is there. A record with a number that was never given, or with another record's number or name, is damage,
/// and becomes free.
void Identities::attach(std::span<std::byte> memory) {
  header_ = std::launder(reinterpret_cast<Header*>(memory.data()));
  std::byte* const endpoints = memory.data() + sizeof(Header);
  std::byte* const scopes = endpoints + sizeof(EndpointRecord) * limits_.endpoints;
  endpoint_records_ = {std::launder(reinterpret_cast<EndpointRecord*>(endpoints)), limits_.endpoints};
  scope_records_ = {std::launder(reinterpret_cast<ScopeRecord*>(scopes)), limits_.scopes};
  attach_endpoints();
  attach_scopes();
}

void Identities::attach_endpoints() {
  std::unordered_set<std::uint32_t> ids;
  for (std::uint32_t slot = 0; slot < limits_.endpoints; ++slot) {
    EndpointRecord& record = endpoint_records_[slot];
    const std::uint32_t id = record.id.load(std::memory_order_acquire);
    if (id == 0) continue;
    const bool known_family = record.family == net::Family::v4 || record.family == net::Family::v6;
    const auto is_new = [&] {
      const auto address = net::Address::from_wire(record.family, reinterpret_cast<const std::byte*>(&record.address));
      return endpoints_.emplace(EndpointName{record.name, {address, record.port}}, datapath::EndpointId{slot, id})
          .second;
    };
    const auto is_own = [&](std::uint32_t number) {
      return number < header_->next_id.load(std::memory_order_relaxed) && ids.insert(number).second;
    };
    const std::uint32_t affinity = record.affinity_id.load(std::memory_order_relaxed);
    const bool remembered = affinity == 0 || affinity == id || is_own(affinity);
    const bool sound = known_family && remembered && is_own(id) && is_new();
    if (!sound) record.id.store(0, std::memory_order_release);
  }
}

void Identities::attach_scopes() {
  std::unordered_set<std::uint32_t> scopes;
  const std::uint32_t end = std::min(header_->next_scope.load(std::memory_order_relaxed), kScopes + 1);
  for (std::uint32_t index = 0; index < limits_.scopes; ++index) {
    ScopeRecord& record = scope_records_[index];
    const std::uint32_t scope = record.scope.load(std::memory_order_acquire);
    if (scope == 0) continue;
    const bool sound = scope < end && scopes.insert(scope).second && scopes_.try_emplace(record.name, index).second;
    if (!sound) record.scope.store(0, std::memory_order_release);
  }
}

Identities::NameHash Identities::hash(std::string_view name) const noexcept {
  std::vector<std::uint64_t> words((name.size() + 7) / 8 + 1);
  std::memcpy(words.data(), name.data(), name.size());
  words.back() = name.size();
  return {store::siphash13(key_, words), store::siphash13({~key_.k0, key_.k1}, words)};
}

store::Result<std::vector<ServiceIds>> Identities::assign(std::span<const Service> services, const SlotInUse& in_use,
                                                          const std::optional<Place>& place) {
  const Wanted wanted = wanted_by(services, place);
  if (const store::Status room = check_room(wanted, in_use); !room) return room.error();
  clear_gone(wanted);
  std::vector<ServiceIds> all;
  all.reserve(services.size());
  for (const Service& service : services) all.push_back(ids_of(service, place));
  for (std::size_t i = 0; i < services.size(); ++i) all[i].aliases = aliases(services[i]);
  return all;
}

ServiceIds Identities::ids_of(const Service& service, const std::optional<Place>& place) {
  ServiceIds ids;
  const NameHash service_name = hash(service.name);
  const NameHash scope_name = hash(service.affinity_scope());
  if (service.affinity_timeout) ids.affinity_scope = scope(scope_name);
  const std::vector<bool> reachable = reachable_from(service, place);
  for (std::size_t i = 0; i < service.endpoints.size(); ++i) {
    const datapath::EndpointId id = endpoint({service_name, service.endpoints[i].at});
    slots_.set(id, state_of(service.endpoints[i]));
    ids.endpoints.push_back(id);
    if (!remembers_addresses(service)) ids.affinity_ids.push_back(affinity_id(id.slot, reachable[i]));
  }
  if (!remembers_addresses(service)) return ids;
  const std::vector<net::AddressPort> names = address_names(service);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool remembered = reachable[i];
    ids.affinity_ids.push_back(remembered ? affinity_id(endpoint({scope_name, names[i]}).slot, true) : 0);
  }
  return ids;
}

AffinityAliases Identities::aliases(const Service& service) const {
  AffinityAliases more;
  if (!remembers_addresses(service)) return more;
  const NameHash scope_name = hash(service.affinity_scope());
  std::map<net::Address, std::map<std::uint16_t, std::uint32_t>> by_rank;  // index
  const std::vector<net::AddressPort> names = address_names(service);
  for (std::uint32_t i = 0; i < names.size(); ++i) by_rank[names[i].address].emplace(names[i].port, i);
  for (const auto& [address, own] : by_rank) {
    auto rank = static_cast<std::uint16_t>(own.size());
    for (auto at = endpoints_.find({scope_name, {address, rank}}); at != endpoints_.end();
         at = endpoints_.find({scope_name, {address, ++rank}})) {
      more.emplace_back(at->second.id, own.at(static_cast<std::uint16_t>(rank % own.size())));
    }
  }
  return more;
}

Identities::Wanted Identities::wanted_by(std::span<const Service> services, const std::optional<Place>& place) const {
  Wanted wanted;
  for (const Service& service : services) {
    const NameHash service_name = hash(service.name);
    for (const Endpoint& one : service.endpoints) wanted.endpoints.emplace(service_name, one.at);
    if (!service.affinity_timeout) continue;
    const NameHash scope_name = hash(service.affinity_scope());
    wanted.scopes.insert(scope_name);
    if (!remembers_addresses(service)) continue;
    const std::vector<net::AddressPort> names = address_names(service);
    const std::vector<bool> reachable = reachable_from(service, place);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (reachable[i]) wanted.endpoints.emplace(scope_name, names[i]);
    }
  }
  return wanted;
}

store::Status Identities::check_room(const Wanted& wanted, const SlotInUse& in_use) {
  std::uint64_t new_endpoints = 0;
  std::uint64_t new_scopes = 0;
  for (const EndpointName& name : wanted.endpoints) new_endpoints += endpoints_.contains(name) ? 0 : 1;
  for (const NameHash& name : wanted.scopes) new_scopes += scopes_.contains(name) ? 0 : 1;
  collect_free(wanted, in_use);
  if (new_endpoints > free_slots_.size()) {
    return no_room(std::to_string(new_endpoints) + " new endpoints do not fit: " + std::to_string(free_slots_.size()) +
                   " of " + std::to_string(limits_.endpoints) + " slots are free; raise tables.endpoints");
  }
  if (new_scopes > free_scopes_.size()) {
    return no_room(std::to_string(new_scopes) +
                   " new affinity scopes do not fit: " + std::to_string(free_scopes_.size()) + " of " +
                   std::to_string(limits_.scopes) + " are free; raise tables.scopes");
  }
  if (header_->next_scope.load(std::memory_order_relaxed) + new_scopes > kScopes) {
    return no_room("all " + std::to_string(kScopes) +
                   " affinity scopes have been used up; stop limpet and remove its state file to begin anew");
  }
  // Any of them may come back into reach, too.
  const std::uint64_t most = new_endpoints + wanted.endpoints.size();
  if (header_->next_id.load(std::memory_order_relaxed) + most > UINT32_MAX) {
    return no_room("all endpoint ids have been used up; stop limpet and remove its state file to begin anew");
  }
  return store::ok();
}

/// The lowest last, where they are taken from; before them those whose names are gone from the configuration.
void Identities::collect_free(const Wanted& wanted, const SlotInUse& in_use) {
  free_slots_.clear();
  free_scopes_.clear();
  for (const auto& [name, id] : endpoints_) {
    if (!wanted.endpoints.contains(name) && !in_use(id.slot)) free_slots_.push_back(id.slot);
  }
  for (const auto& [name, index] : scopes_) {
    if (!wanted.scopes.contains(name)) free_scopes_.push_back(index);
  }
  for (std::uint32_t slot = limits_.endpoints; slot-- > 0;) {
    const bool free = endpoint_records_[slot].id.load(std::memory_order_relaxed) == 0;
    if (free && !in_use(slot)) free_slots_.push_back(slot);
  }
  for (std::uint32_t index = limits_.scopes; index-- > 0;) {
    if (scope_records_[index].scope.load(std::memory_order_relaxed) == 0) free_scopes_.push_back(index);
  }
}

datapath::EndpointId Identities::endpoint(const EndpointName& name) {
  if (const auto known = endpoints_.find(name); known != endpoints_.end()) return known->second;
  const std::uint32_t slot = free_slots_.back();
  free_slots_.pop_back();
  const datapath::EndpointId id{slot, take(header_->next_id)};
  EndpointRecord& record = endpoint_records_[slot];
  record.affinity_id.store(id.id, std::memory_order_relaxed);
  record.name = name.first;
  record.port = name.second.port;
  record.family = name.second.address.family();
  std::memcpy(record.address.data(), name.second.address.bytes().data(), name.second.address.size());
  record.id.store(id.id, std::memory_order_release);
  endpoints_.emplace(name, id);
  return id;
}

std::uint32_t Identities::affinity_id(std::uint32_t slot, bool reachable) {
  std::atomic<std::uint32_t>& stored = endpoint_records_[slot].affinity_id;
  if (!reachable) {
    stored.store(0, std::memory_order_release);
    return 0;
  }
  if (const std::uint32_t known = stored.load(std::memory_order_relaxed); known != 0) return known;
  const std::uint32_t id = take(header_->next_id);
  stored.store(id, std::memory_order_release);
  return id;
}

std::uint32_t Identities::scope(const NameHash& name) {
  if (const auto known = scopes_.find(name); known != scopes_.end()) return scope_records_[known->second].scope;
  const std::uint32_t index = free_scopes_.back();
  free_scopes_.pop_back();
  const std::uint32_t number = take(header_->next_scope);
  scope_records_[index].name = name;
  scope_records_[index].scope.store(number, std::memory_order_release);
  scopes_.emplace(name, index);
  return number;
}

void Identities::clear_gone(const Wanted& kept) {
  std::erase_if(endpoints_, [&](const auto& known) {
    if (kept.endpoints.contains(known.first)) return false;
    slots_.set({known.second.slot, 0}, 0);
    endpoint_records_[known.second.slot].id.store(0, std::memory_order_release);
    return true;
  });
  std::erase_if(scopes_, [&](const auto& known) {
    if (kept.scopes.contains(known.first)) return false;
    scope_records_[known.second].scope.store(0, std::memory_order_release);
    return true;
  });
}

}  // namespace limpet::service
