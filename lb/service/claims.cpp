#include "lb/service/claims.h"

#include <algorithm>
#include <tuple>

#include "lb/service/doors.h"

namespace limpet::service {
namespace {

using datapath::L4Address;

bool is_older(const Declared& a, const Declared& b) {
  const auto rank = [](const Declared& each) {
    return std::tuple(!each.native, std::string_view(each.created), std::string_view(each.service->name),
                      each.service->family());
  };
  return rank(a) < rank(b);
}

std::string family_of(const Service& service) {
  return service.family() == net::Family::v4 ? " (IPv4)" : " (IPv6)";
}

std::string name_of(const Service& service, const L4Address& door) {
  const std::string protocol = "/" + net::to_string(door.protocol);
  if (service.node_port != 0 && door == node_port_door(service)) {
    return "nodePort " + std::to_string(service.node_port) + protocol + family_of(service);
  }
  return door.at.to_string() + protocol;
}

/// Returns who had it; nullptr: nobody.
template <typename Claimants>
Declared* enter(Claimants& claimants, Declared& declared) {
  Declared* const owner = claimants.owner;
  auto& younger = claimants.younger;
  if (owner == &declared) return owner;
  if (owner == nullptr) {
    claimants.owner = &declared;
  } else if (is_older(declared, *owner)) {
    younger.insert(younger.begin(), owner);
    claimants.owner = &declared;
  } else if (std::ranges::find(younger, &declared) == younger.end()) {
    const auto at = std::ranges::find_if(younger, [&](const Declared* each) { return is_older(declared, *each); });
    younger.insert(at, &declared);
  }
  return owner;
}

/// Returns who has it now, if that has changed; else nullptr. The entry goes with its last claimant.
template <typename Table>
Declared* leave(Table& table, const typename Table::key_type& what, Declared& declared) {
  const auto found = table.find(what);
  if (found == table.end()) return nullptr;
  auto& [owner, younger] = found->second;
  if (owner != &declared) {
    std::erase(younger, &declared);
    return nullptr;
  }
  if (younger.empty()) {
    table.erase(found);
    return nullptr;
  }
  owner = younger.front();
  younger.erase(younger.begin());
  return owner;
}

}  // namespace

void Claims::add(Declared& declared) {
  declared.number = next_number_++;
  touched_.insert(&declared);
  const PortName name{declared.service->name, declared.service->family()};
  Claimants& claimants = names_[name];
  Declared* const before = enter(claimants, declared);
  if (claimants.owner != &declared) return;
  if (before != nullptr && before != &declared) {
    leave_doors(*before);
    touched_.insert(before);
    // The key's text is to be that of one who stays.
    auto node = names_.extract(name);
    node.key() = name;
    names_.insert(std::move(node));
  }
  enter_doors(declared);
}

void Claims::remove(Declared& declared) {
  if (declared.has_name) leave_doors(declared);
  let_name_go({declared.service->name, declared.service->family()}, declared);
  touched_.erase(&declared);
}

void Claims::let_name_go(const PortName& name, Declared& declared) {
  Declared* const heir = leave(names_, name, declared);
  if (heir == nullptr) return;
  auto node = names_.extract(name);
  node.key() = {heir->service->name, heir->service->family()};
  names_.insert(std::move(node));
  enter_doors(*heir);
  touched_.insert(heir);
}

void Claims::enter_doors(Declared& declared) {
  declared.has_name = true;
  for_each_door(*declared.service, [&](const L4Address& door, Door) {
    Claimants& claimants = doors_[door];
    Declared* const before = enter(claimants, declared);
    if (before != nullptr && claimants.owner != before) touched_.insert(before);
  });
}

void Claims::leave_doors(Declared& declared) {
  declared.has_name = false;
  for_each_door(*declared.service, [&](const L4Address& door, Door) {
    if (Declared* const heir = leave(doors_, door, declared)) touched_.insert(heir);
  });
}

std::vector<Declared*> Claims::take_touched() {
  std::vector<Declared*> result(touched_.begin(), touched_.end());
  touched_.clear();
  std::ranges::sort(result, {}, &Declared::number);
  return result;
}

const Declared* Claims::owner_of(const L4Address& door) const {
  const auto found = doors_.find(door);
  return found == doors_.end() ? nullptr : found->second.owner;
}

std::shared_ptr<const Service> Claims::granted(const Declared& declared) const {
  if (!declared.has_name) return nullptr;
  bool all = true;
  for_each_door(*declared.service, [&](const L4Address& door, Door) { all = all && owner_of(door) == &declared; });
  if (all) return declared.service;
  auto rest = std::make_shared<Service>(*declared.service);
  rest->own_family = rest->family();
  const auto lost = [&](const net::Address& address) {
    return owner_of({rest->protocol, {address, rest->port}}) != &declared;
  };
  if (rest->node_port != 0 && owner_of(node_port_door(*rest)) != &declared) rest->node_port = 0;
  std::erase_if(rest->external_ips, lost);
  std::erase_if(rest->load_balancer_ips, lost);
  if (rest->cluster_ip && lost(*rest->cluster_ip)) rest->cluster_ip.reset();
  return rest;
}

std::vector<std::string> Claims::losses(const Declared& declared) const {
  std::vector<std::string> result;
  const Service& service = *declared.service;
  const auto lose = [&](const std::string& what, const Declared& to) {
    result.push_back(what + " of service " + service.name + " is left out: the older service " + to.service->name +
                     " has it");
  };
  if (!declared.has_name) {
    lose("the name " + service.name + family_of(service), *names_.at({service.name, service.family()}).owner);
    return result;
  }
  for_each_door(service, [&](const L4Address& door, Door) {
    if (const Declared* const owner = owner_of(door); owner != &declared) lose(name_of(service, door), *owner);
  });
  return result;
}

}  // namespace limpet::service
