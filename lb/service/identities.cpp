#include "lb/service/identities.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
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

/// Of names that have only now become known.
template <typename Known, typename Name>
void start_counting(Known& known, const Name& name, int by) {
  if (const auto found = known.find(name); found != known.end() && found->second.services == 0) {
    found->second.services = static_cast<std::uint32_t>(by);
  }
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
    if (id == 0) {
      free_slots_.push_back(slot);
      continue;
    }
    const bool known_family = record.family == net::Family::v4 || record.family == net::Family::v6;
    const auto is_new = [&] {
      const auto address = net::Address::from_wire(record.family, reinterpret_cast<const std::byte*>(&record.address));
      return endpoints_.try_emplace({record.name, {address, record.port}}, KnownEndpoint{{slot, id}}).second;
    };
    const auto is_own = [&](std::uint32_t number) {
      return number < header_->next_id.load(std::memory_order_relaxed) && ids.insert(number).second;
    };
    const std::uint32_t affinity = record.affinity_id.load(std::memory_order_relaxed);
    const bool remembered = affinity == 0 || affinity == id || is_own(affinity);
    const bool sound = known_family && remembered && is_own(id) && is_new();
    if (sound) continue;
    record.id.store(0, std::memory_order_release);
    free_slots_.push_back(slot);
  }
}

void Identities::attach_scopes() {
  std::unordered_set<std::uint32_t> scopes;
  const std::uint32_t end = std::min(header_->next_scope.load(std::memory_order_relaxed), kScopes + 1);
  for (std::uint32_t index = 0; index < limits_.scopes; ++index) {
    ScopeRecord& record = scope_records_[index];
    const std::uint32_t scope = record.scope.load(std::memory_order_acquire);
    const bool sound = scope != 0 && scope < end && scopes.insert(scope).second &&
                       scopes_.try_emplace(record.name, KnownScope{index}).second;
    if (sound) continue;
    record.scope.store(0, std::memory_order_release);
    free_scopes_.push_back(index);
  }
}

Identities::NameHash Identities::hash(std::string_view name) const noexcept {
  std::vector<std::uint64_t> words((name.size() + 7) / 8 + 1);
  std::memcpy(words.data(), name.data(), name.size());
  words.back() = name.size();
  return {store::siphash13(key_, words), store::siphash13({~key_.k0, key_.k1}, words)};
}

std::size_t Identities::NameHasher::operator()(const EndpointName& name) const noexcept {
  const auto words = name.second.address.words();
  const std::uint64_t end = (words[0] ^ words[1] << 1 ^ std::uint64_t{name.second.port} << 48) * 0x9e3779b97f4a7c15;
  return static_cast<std::size_t>(name.first[0] ^ end ^ end >> 32);
}

store::Result<std::vector<ServiceIds>> Identities::assign(std::span<const Service> services, const SlotInUse& in_use,
                                                          const std::optional<Place>& place) {
  std::vector<const Service*> made;
  for (const Service& service : services) made.push_back(&service);
  return assign(made, in_use, place);
}

store::Result<std::vector<ServiceIds>> Identities::assign(std::span<const Service* const> made, const SlotInUse& in_use,
                                                          const std::optional<Place>& place) {
  Change change;
  for (const auto& [name, known] : endpoints_) change.endpoints.emplace(name, -static_cast<int>(known.services));
  for (const auto& [name, known] : scopes_) change.scopes.emplace(name, -static_cast<int>(known.services));
  std::size_t endpoints = endpoints_.size();
  for (const Service* const service : made) endpoints += service->endpoints.size();
  change.endpoints.reserve(endpoints);
  endpoints_.reserve(endpoints);
  count(made, place, 1, change);
  auto named = carry_out(change, made, in_use, place);
  if (!named) return named.error();
  slots_.admit(named->changes);
  slots_.dismiss(named->changes);
  return std::move(named->ids);
}

store::Result<NamedServices> Identities::update(std::span<const Service* const> gone,
                                                std::span<const Service* const> made, const SlotInUse& in_use,
                                                const std::optional<Place>& place) {
  Change change;
  count(gone, place, -1, change);
  count(made, place, 1, change);
  return carry_out(change, made, in_use, place);
}

void Identities::leave_known(std::vector<Service>& services) const {
  std::erase_if(services, [this](Service& service) {
    const NameHash name = hash(service.name);
    std::erase_if(service.endpoints, [&](const Endpoint& each) { return !endpoints_.contains({name, each.at}); });
    const bool needs_scope = service.affinity_timeout && !scopes_.contains(hash(service.affinity_scope()));
    return service.endpoints.empty() || needs_scope;
  });
}

store::Result<NamedServices> Identities::carry_out(const Change& change, std::span<const Service* const> made,
                                                   const SlotInUse& in_use, const std::optional<Place>& place) {
  if (const store::Status room = check_room(change, in_use); !room) return room.error();
  NamedServices named;
  named.changes.reserve(change.endpoints.size());
  settle(change, named.changes);
  named.ids.reserve(made.size());
  for (const Service* const service : made) named.ids.push_back(ids_of(*service, place, in_use, named.changes));
  for (const auto& [name, by] : change.endpoints) start_counting(endpoints_, name, by);
  for (const auto& [name, by] : change.scopes) start_counting(scopes_, name, by);
  for (std::size_t i = 0; i < made.size(); ++i) named.ids[i].aliases = aliases(*made[i]);
  return named;
}

ServiceIds Identities::ids_of(const Service& service, const std::optional<Place>& place, const SlotInUse& in_use,
                              std::vector<datapath::StateChange>& changes) {
  ServiceIds ids;
  const NameHash service_name = hash(service.name);
  const NameHash scope_name = hash(service.affinity_scope());
  if (service.affinity_timeout) ids.affinity_scope = scope(scope_name);
  const std::vector<bool> reachable = reachable_from(service, place);
  ids.endpoints.reserve(service.endpoints.size());
  ids.affinity_ids.reserve(service.endpoints.size());
  for (std::size_t i = 0; i < service.endpoints.size(); ++i) {
    const datapath::EndpointId id = endpoint({service_name, service.endpoints[i].at}, in_use);
    changes.push_back({id, state_of(service.endpoints[i])});
    ids.endpoints.push_back(id);
    if (!remembers_addresses(service)) ids.affinity_ids.push_back(affinity_id(id.slot, reachable[i]));
  }
  if (!remembers_addresses(service)) return ids;
  const std::vector<net::AddressPort> names = address_names(service);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const bool remembered = reachable[i];
    ids.affinity_ids.push_back(remembered ? affinity_id(endpoint({scope_name, names[i]}, in_use).slot, true) : 0);
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
      more.emplace_back(at->second.id.id, own.at(static_cast<std::uint16_t>(rank % own.size())));
    }
  }
  return more;
}

void Identities::count(std::span<const Service* const> services, const std::optional<Place>& place, int by,
                       Change& change) const {
  for (const Service* const service : services) {
    const NameHash service_name = hash(service->name);
    for (const Endpoint& one : service->endpoints) change.endpoints[{service_name, one.at}] += by;
    if (!service->affinity_timeout) continue;
    const NameHash scope_name = hash(service->affinity_scope());
    change.scopes[scope_name] += by;
    if (!remembers_addresses(*service)) continue;
    const std::vector<net::AddressPort> names = address_names(*service);
    const std::vector<bool> reachable = reachable_from(*service, place);
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (reachable[i]) change.endpoints[{scope_name, names[i]}] += by;
    }
  }
}

store::Status Identities::check_room(const Change& change, const SlotInUse& in_use) {
  std::uint64_t new_endpoints = 0, new_scopes = 0;
  std::uint64_t slots = 0, scopes = free_scopes_.size();  // that are free, or will be
  for (const auto& [name, by] : change.endpoints) {
    const auto known = endpoints_.find(name);
    if (known == endpoints_.end()) {
      new_endpoints += by > 0 ? 1 : 0;
    } else if (static_cast<int>(known->second.services) + by == 0 && !in_use(known->second.id.slot)) {
      ++slots;
    }
  }
  for (const auto& [name, by] : change.scopes) {
    const auto known = scopes_.find(name);
    if (known == scopes_.end()) {
      new_scopes += by > 0 ? 1 : 0;
    } else if (static_cast<int>(known->second.services) + by == 0) {
      ++scopes;
    }
  }
  for (auto slot = free_slots_.begin(); slots < new_endpoints && slot != free_slots_.end(); ++slot) {
    slots += in_use(*slot) ? 0 : 1;
  }
  if (new_endpoints > slots) {
    return no_room(std::to_string(new_endpoints) + " new endpoints do not fit: " + std::to_string(slots) + " of " +
                   std::to_string(limits_.endpoints) + " slots are free; raise tables.endpoints");
  }
  if (new_scopes > scopes) {
    return no_room(std::to_string(new_scopes) + " new affinity scopes do not fit: " + std::to_string(scopes) + " of " +
                   std::to_string(limits_.scopes) + " are free; raise tables.scopes");
  }
  if (header_->next_scope.load(std::memory_order_relaxed) + new_scopes > kScopes) {
    return no_room("all " + std::to_string(kScopes) +
                   " affinity scopes have been used up; stop limpet and remove its state file to begin anew");
  }
  // Any of them may come back into reach, too.
  const std::uint64_t most = new_endpoints + change.endpoints.size();
  if (header_->next_id.load(std::memory_order_relaxed) + most > UINT32_MAX) {
    return no_room("all endpoint ids have been used up; stop limpet and remove its state file to begin anew");
  }
  return store::ok();
}

void Identities::settle(const Change& change, std::vector<datapath::StateChange>& changes) {
  for (const auto& [name, by] : change.endpoints) {
    const auto known = endpoints_.find(name);
    if (known == endpoints_.end()) continue;
    known->second.services += static_cast<std::uint32_t>(by);
    if (known->second.services == 0) changes.push_back({.endpoint = forget(name), .gone = true});
  }
  for (const auto& [name, by] : change.scopes) {
    const auto known = scopes_.find(name);
    if (known == scopes_.end()) continue;
    known->second.services += static_cast<std::uint32_t>(by);
    if (known->second.services != 0) continue;
    scope_records_[known->second.index].scope.store(0, std::memory_order_release);
    free_scopes_.push_back(known->second.index);
    scopes_.erase(known);
  }
}

datapath::EndpointId Identities::forget(const EndpointName& name) {
  const auto known = endpoints_.find(name);
  const datapath::EndpointId id = known->second.id;
  endpoint_records_[id.slot].id.store(0, std::memory_order_release);
  free_slots_.push_back(id.slot);
  endpoints_.erase(known);
  return id;
}

/// check_room() has seen that there is one. Should a worker have begun a flow to it since, it is taken all the same: then
/// that flow counts as the new endpoint's load until it ends.
std::uint32_t Identities::take_slot(const SlotInUse& in_use) {
  for (std::size_t tries = free_slots_.size(); tries > 1 && in_use(free_slots_.front()); --tries) {
    free_slots_.push_back(free_slots_.front());
    free_slots_.pop_front();
  }
  const std::uint32_t slot = free_slots_.front();
  free_slots_.pop_front();
  return slot;
}

datapath::EndpointId Identities::endpoint(const EndpointName& name, const SlotInUse& in_use) {
  if (const auto known = endpoints_.find(name); known != endpoints_.end()) return known->second.id;
  const std::uint32_t slot = take_slot(in_use);
  const datapath::EndpointId id{slot, take(header_->next_id)};
  EndpointRecord& record = endpoint_records_[slot];
  record.affinity_id.store(id.id, std::memory_order_relaxed);
  record.name = name.first;
  record.port = name.second.port;
  record.family = name.second.address.family();
  std::memcpy(record.address.data(), name.second.address.bytes().data(), name.second.address.size());
  record.id.store(id.id, std::memory_order_release);
  endpoints_.emplace(name, KnownEndpoint{id});
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
  if (const auto known = scopes_.find(name); known != scopes_.end()) return scope_records_[known->second.index].scope;
  const std::uint32_t index = free_scopes_.front();
  free_scopes_.pop_front();
  const std::uint32_t number = take(header_->next_scope);
  scope_records_[index].name = name;
  scope_records_[index].scope.store(number, std::memory_order_release);
  scopes_.emplace(name, KnownScope{index});
  return number;
}

}  // namespace limpet::service
