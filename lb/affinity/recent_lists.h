// recent_lists.h: the named lists that the `-m recent` rules of one network namespace share.
//
//   rule ──open()──▶ RecentTable "KUBE-SEP-…" ◀──open()── rule of another program, IPv4 or IPv6
//                         └ lives while at least one rule holds it
//
// A list belongs to its name alone: both families and every program see the same entries. The first rule that opens it
// fixes the mask; a rule of a larger hitcount makes the ring grow, which flushes the list. When the last rule lets go,
// list and entries vanish. So a reload that opens the new program's rules before it drops the old ones keeps the lists
// that both name (recent_mt_check, recent_mt_destroy in net/netfilter/xt_recent.c).
//
// The kernel opens rules in the order in which they lie in the table: the built-in chains by hook, then the user's
// chains sorted by name, rules from the top (iptables-legacy 1.8.9). It matters where rules give one list two masks.
//
// So lists live no longer than the process that runs the program: like the kernel's, they begin empty when their rules are
// loaded anew after it. Their memory together is bounded by RecentOptions::memory (recent_memory.h); rules that need more
// are refused when they are opened.
//
// Threads: any. open, find and names take one lock, match on a RecentTable does not: a rule keeps its table.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "conntrack/store/result.h"
#include "lb/affinity/recent_match.h"
#include "lb/affinity/recent_memory.h"
#include "lb/affinity/recent_table.h"

namespace limpet::affinity {

/// What the module's parameters must be. Errors: configuration.
store::Status check(const RecentOptions& options);

class RecentLists {
 public:
  /// `options` are those that check() lets pass.
  explicit RecentLists(const RecentOptions& options)
      : options_(options), memory_(std::make_shared<RecentMemory>(options.memory)) {}
  RecentLists(const RecentLists&) = delete;
  RecentLists& operator=(const RecentLists&) = delete;

  /// The list of a rule, for as long as the rule holds it. Errors: those of check(rule); configuration where its entries
  /// do not fit into the memory. Nothing is changed then.
  store::Result<std::shared_ptr<RecentTable>> open(const RecentMatch& rule);
  /// Null: no rule names it.
  std::shared_ptr<RecentTable> find(const std::string& name) const;
  /// Of the lists that are there, sorted.
  std::vector<std::string> names() const;
  const RecentOptions& options() const noexcept { return options_; }
  const RecentMemory& memory() const noexcept { return *memory_; }

 private:
  store::Result<std::shared_ptr<RecentTable>> provide(const RecentMatch& rule);
  store::Error no_memory(const RecentMatch& rule) const;

  const RecentOptions options_;
  const std::shared_ptr<RecentMemory> memory_;
  mutable std::mutex lock_;
  std::map<std::string, std::weak_ptr<RecentTable>> lists_;
  std::size_t tidy_at_ = 64;  // names, after which those of lists that are gone are looked for
};

}  // namespace limpet::affinity
