#include "lb/divert/sets.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>
#include <functional>
#include <map>
#include <utility>

#include "lb/divert/plan_parts.h"

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using datapath::L4Address;
using datapath::PlanDelta;
using net::Family;

constexpr std::size_t kMinimumCapacity = 1024;
constexpr std::size_t kElementsPerBucket = 4;  // the kernel doubles the buckets from about 12 on
constexpr std::string_view kNew = "-new";
/// In the order of filling; emptied in reverse.
constexpr std::array<SetRole, 6> kRoles{SetRole::locals, SetRole::hosts,     SetRole::endpoints,
                                        SetRole::vips,   SetRole::addresses, SetRole::services};

bool is_chosen(SetRole role, SetChoice choice) noexcept {
  return choice == SetChoice::with_fragments || (role != SetRole::hosts && role != SetRole::vips);
}

std::string element(const L4Address& at) {
  const std::string address = at.at.address.to_string() + ",";
  if (!is_icmp(at.protocol)) {
    return address + std::to_string(static_cast<unsigned>(at.protocol)) + ":" + std::to_string(at.at.port);
  }
  return address + (at.protocol == net::Protocol::icmp ? "icmp:" : "icmpv6:") + std::to_string(at.at.port >> 8) + "/" +
         std::to_string(at.at.port & 0xff);
}
std::string element(const net::Address& address) {
  return address.to_string();
}

/// Applies `use` to the list of the plan that fills the set.
template <typename Use>
void with_list(SetRole role, const DiversionPlan& plan, Use use) {
  switch (role) {
    case SetRole::locals:
      return use(plan.locals);
    case SetRole::hosts:
      return use(hosts(plan));
    case SetRole::vips:
      return use(vips(plan));
    case SetRole::endpoints:
      return use(plan.endpoints);
    case SetRole::addresses:
      return use(plan.addresses);
    case SetRole::services:
      return use(plan.services);
  }
}

enum class Half { added, removed };

/// Applies `use` to what a change adds to the set, or takes from it.
template <typename Use>
void with_change(SetRole role, const DiversionPlan& after, const PlanDelta& delta, Half half, Use use) {
  const auto of = [half](AddressDelta change) {
    return half == Half::added ? std::move(change.added) : std::move(change.removed);
  };
  if (role == SetRole::hosts) return use(of(hosts_delta(after, delta)));
  if (role == SetRole::vips) return use(of(vips_delta(after, delta)));
  with_list(role, half == Half::added ? delta.added : delta.removed, use);
}

/// One line per element.
std::string change(Family family, SetRole role, const DiversionPlan& after, const PlanDelta& delta, Half half) {
  const std::string head = (half == Half::added ? "add " : "del ") + set_name(family, role) + " ";
  std::string text;
  with_change(role, after, delta, half, [&](const auto& list) {
    for (const auto& entry : list) text.append(head).append(element(entry)).append("\n");
  });
  return text;
}

std::string create(const std::string& name, Family family, SetRole role, std::size_t capacity) {
  const bool ports = role == SetRole::endpoints || role == SetRole::services;
  const std::size_t buckets = std::max(capacity / kElementsPerBucket, kMinimumCapacity);
  return "create " + name + (ports ? " hash:ip,port" : " hash:ip") +
         (family == Family::v4 ? " family inet" : " family inet6") + " hashsize " + std::to_string(buckets) +
         " maxelem " + std::to_string(capacity) + "\n";
}

bool contains(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// Build NAME-new, put it in NAME's place, destroy what was there.
std::string renew(Family family, SetRole role, const DiversionPlan& plan, const std::vector<std::string>& present) {
  const std::string name = set_name(family, role);
  const std::string fresh = name + std::string(kNew);
  std::string text;
  if (contains(present, fresh)) text += "destroy " + fresh + "\n";  // left by a run that was cut short
  with_list(role, plan, [&](const auto& list) {
    const std::size_t capacity = set_capacity(list.size());
    text += create(fresh, family, role, capacity);
    for (const auto& entry : list) text.append("add ").append(fresh).append(" ").append(element(entry)).append("\n");
    if (!contains(present, name)) text += create(name, family, role, capacity);
  });
  return text + "swap " + fresh + " " + name + "\ndestroy " + fresh + "\n";
}

/// Name → number of elements, from `ipset list -t`.
std::map<std::string, std::size_t, std::less<>> set_sizes(std::string_view listed) {
  constexpr std::string_view kName = "Name: ";
  constexpr std::string_view kEntries = "Number of entries: ";
  std::map<std::string, std::size_t, std::less<>> sizes;
  std::string name;
  while (!listed.empty()) {
    const std::string_view line = listed.substr(0, listed.find('\n'));
    listed.remove_prefix(std::min(line.size() + 1, listed.size()));
    if (line.starts_with(kName)) name = line.substr(kName.size());
    if (!line.starts_with(kEntries)) continue;
    std::size_t size = 0;
    std::from_chars(line.data() + kEntries.size(), line.data() + line.size(), size);
    sizes.insert_or_assign(name, size);
  }
  return sizes;
}

/// `found` where that will do.
std::size_t expected_size(SetRole role, const DiversionPlan& plan, std::size_t found) {
  std::size_t expected = found;
  if (role == SetRole::hosts) return plan.endpoints.empty() || found > 0 ? found : 1;
  if (role == SetRole::vips) return found > 0 ? found : vips(plan).size();
  with_list(role, plan, [&](const auto& list) { expected = list.size(); });
  return expected;
}

}  // namespace

std::string set_name(Family family, SetRole role) {
  constexpr std::array<const char*, kRoles.size()> names{"locals", "hosts",     "endpoints",
                                                         "vips",   "addresses", "services"};
  return (family == Family::v4 ? "limpet4-" : "limpet6-") + std::string(names[static_cast<std::size_t>(role)]);
}

std::size_t set_capacity(std::size_t elements) noexcept {
  return std::bit_ceil(std::max(2 * elements, kMinimumCapacity));
}

std::vector<std::string> find_sets(std::string_view listed, Family family) {
  std::vector<std::string> found;
  while (!listed.empty()) {
    const std::string_view line = listed.substr(0, listed.find('\n'));
    listed.remove_prefix(std::min(line.size() + 1, listed.size()));
    if (family == Family::v4 && line == kProbeSet) found.emplace_back(line);
    for (const SetRole role : kRoles) {
      const std::string name = set_name(family, role);
      if (line == name || line == name + std::string(kNew)) found.emplace_back(line);
    }
  }
  return found;
}

std::string render_sets(Family family, const DiversionPlan& plan, SetChoice choice,
                        const std::vector<std::string>& present) {
  std::string text;
  for (const SetRole role : kRoles) {
    if (is_chosen(role, choice)) text += renew(family, role, plan, present);
  }
  return text;
}

std::string render_set_additions(Family family, const DiversionPlan& after, const PlanDelta& delta, SetChoice choice) {
  std::string text;
  for (const SetRole role : kRoles) {
    if (is_chosen(role, choice)) text += change(family, role, after, delta, Half::added);
  }
  return text;
}

std::string render_set_removals(Family family, const DiversionPlan& after, const PlanDelta& delta, SetChoice choice) {
  std::string text;
  for (auto role = kRoles.rbegin(); role != kRoles.rend(); ++role) {
    if (is_chosen(*role, choice)) text += change(family, *role, after, delta, Half::removed);
  }
  return text;
}

std::vector<std::string> unchosen_sets(Family family, SetChoice choice, const std::vector<std::string>& present) {
  std::vector<std::string> unchosen = present;
  for (const SetRole role : kRoles) {
    if (is_chosen(role, choice)) std::erase(unchosen, set_name(family, role));
  }
  return unchosen;
}

std::vector<std::string> find_set_drift(Family family, const DiversionPlan& plan, SetChoice choice,
                                        std::string_view listed) {
  const auto sizes = set_sizes(listed);
  std::vector<std::string> found;
  for (const SetRole role : kRoles) {
    if (!is_chosen(role, choice)) continue;
    const std::string name = set_name(family, role);
    const auto size = sizes.find(name);
    if (size == sizes.end()) {
      found.push_back("set " + name + " is missing");
    } else if (const std::size_t expected = expected_size(role, plan, size->second); size->second != expected) {
      found.push_back("set " + name + " has " + std::to_string(size->second) + " elements instead of " +
                      std::to_string(expected));
    }
  }
  return found;
}

std::string render_destroy(const std::vector<std::string>& present) {
  std::string text;
  for (const std::string& name : present) text += "destroy " + name + "\n";
  return text;
}

}  // namespace limpet::divert
