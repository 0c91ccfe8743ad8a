#include "lb/service/catalog.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string_view>
#include <tuple>
#include <utility>

namespace limpet::service {
namespace {

std::vector<std::unique_ptr<Declared>> declare(Group&& group) {
  std::vector<std::unique_ptr<Declared>> members;
  for (Service& service : group.services) {
    members.push_back(std::make_unique<Declared>());
    members.back()->service = std::make_shared<const Service>(std::move(service));
    members.back()->native = group.native;
    members.back()->created = group.created;
  }
  return members;
}

Place place_of(const NodeConfig& node) {
  return {node.name, node.zone};
}

std::vector<const Service*> pointers_to(std::span<const std::shared_ptr<const Service>> services) {
  std::vector<const Service*> result;
  for (const auto& service : services) {
    if (service) result.push_back(service.get());
  }
  return result;
}

}  // namespace

std::vector<Service> settle(std::vector<Group> groups, std::vector<std::string>& losses) {
  Claims claims;
  std::vector<std::unique_ptr<Declared>> all;
  for (Group& group : groups) std::ranges::move(declare(std::move(group)), std::back_inserter(all));
  for (const auto& each : all) claims.add(*each);
  std::vector<Service> services;
  for (const auto& each : all) {
    std::ranges::move(claims.losses(*each), std::back_inserter(losses));
    if (const auto granted = claims.granted(*each)) services.push_back(*granted);
  }
  return services;
}

Catalog::Catalog(Identities& identities, NodeConfig node, IcmpEcho echo)
    : identities_(identities),
      node_(std::move(node)),
      snapshot_(std::make_shared<const Snapshot>(node_, std::span<const Service>(), std::vector<ServiceIds>(), echo)) {}

Catalog::Members Catalog::exchange(const std::string& group, Members members) {
  const auto found = groups_.find(group);
  Members former;
  if (found != groups_.end()) former = std::move(found->second);
  for (const auto& each : former) {
    claims_.remove(*each);
    if (each->service->shares_affinity()) sharers_[each->service->affinity_group].erase(each.get());
  }
  for (const auto& each : members) {
    claims_.add(*each);
    if (each->service->shares_affinity()) sharers_[each->service->affinity_group].insert(each.get());
  }
  if (!members.empty()) {
    groups_.insert_or_assign(group, std::move(members));
  } else if (found != groups_.end()) {
    groups_.erase(found);
  }
  return former;
}

Catalog::Changes Catalog::changes(std::span<Declared* const> touched, std::span<const Members> former) {
  Changes changes;
  std::unordered_map<std::string, std::shared_ptr<const ServicePort>>
      before;  // of the groups named, by name and family
  const auto key = [](const Service& service) {
    return service.name + (service.family() == net::Family::v4 ? "/4" : "/6");
  };
  std::unordered_set<std::string> shared;
  for (const Members& members : former) {
    for (const auto& each : members) {
      if (!each->served) continue;
      before.emplace(key(each->served->service()), each->served);
      if (each->service->shares_affinity()) shared.insert(each->service->affinity_group);
    }
  }
  for (const Declared* const each : touched) {
    if (each->service->shares_affinity()) shared.insert(each->service->affinity_group);
  }
  std::vector<Declared*> wanted(touched.begin(), touched.end());
  for (const std::string& group : shared) wanted.insert(wanted.end(), sharers_[group].begin(), sharers_[group].end());
  if (!shared.empty()) {
    std::ranges::sort(wanted, {}, &Declared::number);
    wanted.erase(std::unique(wanted.begin(), wanted.end()), wanted.end());
  }

  for (Declared* const each : wanted) {
    std::shared_ptr<const Service> granted = claims_.granted(*each);
    std::shared_ptr<const ServicePort> served = each->served;
    if (granted && !served) {  // a new declaration may say what the former did
      if (const auto same = before.find(key(*granted));
          same != before.end() && same->second->service() == *granted && !granted->shares_affinity()) {
        changes.kept.emplace_back(each, std::move(same->second));
        before.erase(same);
        continue;
      }
    }
    const bool same = served ? granted && served->service() == *granted : !granted;
    if (same && !each->service->shares_affinity()) continue;
    if (served) changes.gone.push_back(std::move(served));
    changes.made.push_back(each);
    changes.granted.push_back(std::move(granted));
  }
  for (auto& [name, port] : before) changes.gone.push_back(std::move(port));
  return changes;
}

void Catalog::serve(const Changes& changes, std::vector<ServiceIds> ids, Snapshot::Ports& made) {
  for (const auto& [declared, port] : changes.kept) declared->served = port;
  auto next = ids.begin();
  for (std::size_t i = 0; i < changes.made.size(); ++i) {
    changes.made[i]->served = nullptr;
    if (!changes.granted[i]) continue;
    made.push_back(std::make_shared<const ServicePort>(changes.granted[i], std::move(*next++), place_of(node_)));
    changes.made[i]->served = made.back();
  }
  snapshot_ = snapshot_->changed(changes.gone, made);
}

std::vector<Declared*> Catalog::everyone() const {
  std::vector<Declared*> all;
  for (const auto& [name, members] : groups_) {
    for (const auto& each : members) all.push_back(each.get());
  }
  std::ranges::sort(all, {}, &Declared::number);
  return all;
}

store::Result<std::vector<ServiceIds>> Catalog::try_to_open(std::span<const Service> also, const SlotInUse& in_use) {
  const Changes all = changes(everyone(), {});
  claims_.take_touched();
  std::vector<const Service*> services = pointers_to(all.granted);
  const std::size_t served = services.size();
  for (const Service& service : also) services.push_back(&service);
  auto ids = identities_.assign(services, in_use, place_of(node_));
  if (!ids) return ids.error();
  std::vector<ServiceIds> theirs(std::make_move_iterator(ids->begin() + static_cast<std::ptrdiff_t>(served)),
                                 std::make_move_iterator(ids->end()));
  ids->resize(served);
  Snapshot::Ports made;
  serve(all, std::move(*ids), made);
  return theirs;
}

store::Result<Catalog::Opened> Catalog::open(std::vector<Group> groups, std::span<const Service> also,
                                             const SlotInUse& in_use) {
  for (Group& group : groups) {
    const std::string name = group.name;
    exchange(name, declare(std::move(group)));
  }
  std::map<std::string, Group> left_out;
  const IdentityLimits limits = identities_.limits();
  // The tables may have less room than they are large: connections of the process before hold on to its endpoints.
  constexpr std::uint64_t kSteps = 16;
  for (std::uint64_t pass = 0;; ++pass) {
    auto ids = try_to_open(also, in_use);
    if (!ids && pass > kSteps + 1) return ids.error();
    if (ids) {
      Opened opened{.also = std::move(*ids), .left_out = {}};
      for (auto& [name, group] : left_out) opened.left_out.push_back(std::move(group));
      std::ranges::sort(opened.left_out, {}, [](const Group& group) { return std::tie(group.created, group.name); });
      return opened;
    }
    const std::uint64_t share = kSteps - std::min(pass, kSteps);
    const auto part = [&](std::uint64_t whole) { return static_cast<std::uint32_t>(whole * share / kSteps); };
    reduce({part(limits.endpoints), part(limits.scopes)}, also, pass <= kSteps, left_out);
  }
}

void Catalog::reduce(const IdentityLimits& room, std::span<const Service> also, bool keep_known,
                     std::map<std::string, Group>& left_out) {
  std::uint64_t endpoints = 0;
  std::set<std::string_view> scopes;
  const auto add = [&](const Service& service) {
    endpoints += service.endpoints.size() * (service.shares_affinity() ? 2 : 1);
    if (service.affinity_timeout) scopes.insert(service.affinity_scope());
  };
  std::vector<std::pair<std::string, const Members*>> by_age;
  for (const Service& service : also) add(service);
  for (const auto& [name, members] : groups_) {
    if (!members.front()->native) by_age.emplace_back(name, &members);
    for (const auto& each : members) {
      if (each->native) add(*each->service);
    }
  }
  std::ranges::sort(by_age, {}, [](const auto& entry) {
    return std::pair(std::string_view(entry.second->front()->created), std::string_view(entry.first));
  });
  for (const auto& [name, members] : by_age) {
    const std::uint64_t before = endpoints;
    for (const auto& each : *members) add(*each->service);
    if (keep_known && endpoints <= room.endpoints && scopes.size() <= room.scopes) continue;
    endpoints = before;
    Group group{.name = name, .created = members->front()->created, .services = {}};
    for (const auto& each : *members) group.services.push_back(*each->service);
    Group known = group;
    keep_known ? identities_.leave_known(known.services) : known.services.clear();
    exchange(name, declare(std::move(known)));
    left_out.emplace(name, std::move(group));
  }
}

store::Result<SnapshotChange> Catalog::apply(std::vector<Group> groups, const SlotInUse& in_use) {
  std::vector<std::string> names;
  std::vector<Members> former;
  for (Group& group : groups) {
    names.push_back(group.name);
    former.push_back(exchange(names.back(), declare(std::move(group))));
  }
  const std::vector<Declared*> touched = claims_.take_touched();
  Changes found = changes(touched, former);
  std::vector<const Service*> gone;
  for (const auto& port : found.gone) gone.push_back(&port->service());
  auto named = identities_.update(gone, pointers_to(found.granted), in_use, place_of(node_));
  if (!named) {
    for (std::size_t i = names.size(); i-- > 0;) exchange(names[i], std::move(former[i]));
    claims_.take_touched();
    return named.error();
  }
  SnapshotChange change;
  serve(found, std::move(named->ids), change.made);
  change.states = std::move(named->changes);
  change.snapshot = snapshot_;
  change.gone = std::move(found.gone);
  for (const Declared* const each : touched) {
    for (std::string& loss : claims_.losses(*each)) change.losses.push_back(std::move(loss));
  }
  return change;
}

std::vector<std::string> Catalog::losses() const {
  std::vector<std::string> all;
  for (const auto& [name, members] : groups_) {
    for (const auto& each : members) {
      for (std::string& loss : claims_.losses(*each)) all.push_back(std::move(loss));
    }
  }
  std::ranges::sort(all);
  return all;
}

}  // namespace limpet::service
