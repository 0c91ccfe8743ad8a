#include "lb/affinity/recent_lists.h"

#include <utility>

namespace limpet::affinity {

store::Status check(const RecentOptions& options) {
  if (options.least_stamps > RecentMatch::kMostStamps) {
    return store::Error{store::ErrorKind::configuration,
                        "recent: ip_pkt_list_tot " + std::to_string(options.least_stamps) + " is too much; at most " +
                            std::to_string(RecentMatch::kMostStamps)};
  }
  if (options.per_second == 0) {
    return store::Error{store::ErrorKind::configuration, "recent: 0 ticks a second; the kernel's HZ is 100 to 1000"};
  }
  return store::ok();
}

store::Result<std::shared_ptr<RecentTable>> RecentLists::open(const RecentMatch& rule) {
  if (auto valid = check(rule); !valid) return valid.error();
  const std::lock_guard guard(lock_);
  std::erase_if(lists_, [](const auto& list) { return list.second.expired(); });
  std::weak_ptr<RecentTable>& known = lists_[rule.name];
  if (auto list = known.lock()) {
    list->admit(rule);
    return list;
  }
  // Not make_shared: the weak pointer must not keep the memory.
  std::shared_ptr<RecentTable> made(new RecentTable(options_, rule));
  known = made;
  return made;
}

std::shared_ptr<RecentTable> RecentLists::find(const std::string& name) const {
  const std::lock_guard guard(lock_);
  const auto list = lists_.find(name);
  return list == lists_.end() ? nullptr : list->second.lock();
}

std::vector<std::string> RecentLists::names() const {
  const std::lock_guard guard(lock_);
  std::vector<std::string> names;
  for (const auto& [name, list] : lists_) {
    if (!list.expired()) names.push_back(name);
  }
  return names;
}

}  // namespace limpet::affinity
