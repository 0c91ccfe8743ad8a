// counted_plan.h: a DiversionPlan made of parts that come and go: what of it changes when some of them do.
//
//   change(gone, made) ── how many parts ask for each entry ──▶ PlanDelta: what the first begins to ask for, and what the
//                                                               last has ceased to
//
// Two services may have an endpoint in common, two ports an address: an entry is diverted as long as one part asks for it.
// The node's own lists (locals, prefixes) are no part's. O(gone + made), whatever else there is; the delta is sorted, as DiversionPlan wants it. Control thread.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <unordered_map>
#include <vector>

#include "lb/datapath/diversion_plan.h"

namespace limpet::datapath {

class CountedPlan {
 public:
  /// `gone` and `made`: what the parts ask for together, each entry as often as there are parts that do; in any order.
  PlanDelta change(const DiversionPlan& gone, const DiversionPlan& made) {
    PlanDelta delta;
    count(services_, gone.services, made.services, delta.added.services, delta.removed.services);
    count(endpoints_, gone.endpoints, made.endpoints, delta.added.endpoints, delta.removed.endpoints);
    count(addresses_, gone.addresses, made.addresses, delta.added.addresses, delta.removed.addresses);
    return delta;
  }

 private:
  struct AddressHash {
    std::size_t operator()(const net::Address& address) const noexcept { return L4Hash{}({{}, {address, 0}}); }
  };
  template <typename Entry, typename Hash>
  using Counts = std::unordered_map<Entry, std::uint32_t, Hash>;

  template <typename Entry, typename Hash, typename Entries = std::vector<Entry>>
  static void count(Counts<Entry, Hash>& counts, const Entries& gone, const Entries& made, Entries& added,
                    Entries& removed) {
    for (const Entry& entry : made) {
      if (counts[entry]++ == 0) added.push_back(entry);
    }
    for (const Entry& entry : gone) {
      const auto found = counts.find(entry);
      if (found == counts.end() || --found->second != 0) continue;
      counts.erase(found);
      removed.push_back(entry);
    }
    std::ranges::sort(added);
    std::ranges::sort(removed);
    // In both halves: asked for by the same change for the first and the last time.
    Entries both;
    std::ranges::set_intersection(added, removed, std::back_inserter(both));
    const auto in_both = [&](const Entry& entry) { return std::ranges::binary_search(both, entry); };
    if (both.empty()) return;
    std::erase_if(added, in_both);
    std::erase_if(removed, in_both);
  }

  Counts<L4Address, L4Hash> services_;
  Counts<L4Address, L4Hash> endpoints_;
  Counts<net::Address, AddressHash> addresses_;
};

}  // namespace limpet::datapath
