#include "lb/affinity/recent_lists.h"

#include <new>
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
  if (lists_.size() >= tidy_at_) {
    std::erase_if(lists_, [](const auto& list) { return list.second.expired(); });
    tidy_at_ = 2 * lists_.size() + 64;
  }
  try {
    return provide(rule);
  } catch (const std::bad_alloc&) {
    return no_memory(rule);
  }
}

store::Result<std::shared_ptr<RecentTable>> RecentLists::provide(const RecentMatch& rule) {
  const auto known = lists_.find(rule.name);
  if (auto list = known != lists_.end() ? known->second.lock() : nullptr) {
    list->admit(rule);
    return list;
  }
  // Not make_shared: the weak pointer must not keep the memory.
  std::shared_ptr<RecentTable> made(new RecentTable(options_, rule, memory_));
  lists_.insert_or_assign(rule.name, made);
  return made;
}

store::Error RecentLists::no_memory(const RecentMatch& rule) const {
  constexpr std::uint64_t kMiB = std::uint64_t{1} << 20;
  const std::string entries =
      options_.capacity == RecentOptions::kUnlimited ? "a page of" : std::to_string(options_.capacity);
  return {store::ErrorKind::configuration,
          "recent: list '" + rule.name + "': there is no memory for " + entries + " entries of --hitcount " +
              std::to_string(rule.hitcount) + "; of " + std::to_string(memory_->limit() / kMiB) +
              " MiB for all lists " + std::to_string(memory_->used() / kMiB) +
              " are taken: allow more, or fewer entries a list (ip_list_tot), or ask for fewer hits"};
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
