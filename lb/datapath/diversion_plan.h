// diversion_plan.h: which packets must reach the queues. Pure data: made from what is balanced,
// carried out by lb/divert.
//
// Requests are recognised by their destination, replies by their source (design: rules of one kind per hook):
//   services    every (protocol, address, port) that clients address: VIPs, and nodePorts on each of
//               the node's addresses
//   endpoints   every (protocol, address, port) that may answer
//   locals      the node's own addresses: where replies to masqueraded flows arrive
//   addresses,  whole addresses and networks of services, whose every other port and protocol is to be refused: requests,
//   prefixes    whatever they are but ICMP, which is none of theirs. No address stands in one of the prefixes
//
// Each list is sorted and free of duplicates, so that two plans can be compared and differences applied.
//
// A change is a PlanDelta: what was added, what was removed. Who knows what changed makes it himself, at the price of the
// change; difference() finds it by comparing two plans in one pass over both. amend() carries it out on a plan: one pass,
// no copy.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <vector>

#include "conntrack/net/address.h"

namespace limpet::datapath {

struct L4Address {
  net::Protocol protocol{};
  net::AddressPort at;
  friend auto operator<=>(const L4Address&, const L4Address&) noexcept = default;
};

struct L4Hash {
  std::size_t operator()(const L4Address& of) const noexcept {
    const auto words = of.at.address.words();
    const std::uint64_t rest = std::uint64_t{of.at.port} << 8 | static_cast<std::uint8_t>(of.protocol);
    const std::uint64_t hash = (words[0] ^ (words[1] << 1 | words[1] >> 63) ^ rest << 40) * 0x9e3779b97f4a7c15;
    return static_cast<std::size_t>(hash ^ hash >> 32);
  }
};

struct DiversionPlan {
  std::vector<L4Address> services;
  std::vector<L4Address> endpoints;
  std::vector<net::Address> locals;
  std::vector<net::Address> addresses{};
  std::vector<net::Prefix> prefixes{};
  friend bool operator==(const DiversionPlan&, const DiversionPlan&) = default;
};

/// As every list of a plan is to be.
template <typename Entry>
void sort_unique(std::vector<Entry>& list) {
  std::ranges::sort(list);
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

/// From one plan to another: no entry is in both halves; what is added was not there, what is removed was.
struct PlanDelta {
  DiversionPlan added;
  DiversionPlan removed;
  bool empty() const { return added == DiversionPlan{} && removed == DiversionPlan{}; }
  friend bool operator==(const PlanDelta&, const PlanDelta&) = default;
};

/// visit(&DiversionPlan::services), and so on for every list.
template <typename Visit>
constexpr void each_list(Visit visit) {
  visit(&DiversionPlan::services);
  visit(&DiversionPlan::endpoints);
  visit(&DiversionPlan::locals);
  visit(&DiversionPlan::addresses);
  visit(&DiversionPlan::prefixes);
}

inline PlanDelta difference(const DiversionPlan& from, const DiversionPlan& to) {
  PlanDelta delta;
  each_list([&](auto list) {
    std::ranges::set_difference(to.*list, from.*list, std::back_inserter(delta.added.*list));
    std::ranges::set_difference(from.*list, to.*list, std::back_inserter(delta.removed.*list));
  });
  return delta;
}

/// The part of a change that changes this plan: without what is there already, and without the removal of what is not.
inline PlanDelta needed(PlanDelta delta, const DiversionPlan& plan) {
  each_list([&](auto list) {
    const auto stands = [&](const auto& entry) { return std::ranges::binary_search(plan.*list, entry); };
    std::erase_if(delta.added.*list, stands);
    std::erase_if(delta.removed.*list, std::not_fn(stands));
  });
  return delta;
}

/// Carry out what is needed() of a change.
inline void amend(DiversionPlan& plan, const PlanDelta& delta) {
  each_list([&](auto list) {
    auto& entries = plan.*list;
    if (auto gone = (delta.removed.*list).begin(); gone != (delta.removed.*list).end()) {
      std::erase_if(entries, [&](const auto& entry) {
        while (gone != (delta.removed.*list).end() && *gone < entry) ++gone;
        return gone != (delta.removed.*list).end() && *gone == entry;
      });
    }
    const auto old = static_cast<std::ptrdiff_t>(entries.size());
    entries.insert(entries.end(), (delta.added.*list).begin(), (delta.added.*list).end());
    if (!(delta.added.*list).empty()) std::ranges::inplace_merge(entries, entries.begin() + old);
  });
}

/// What either asks for. An address of one may stand in a prefix of the other: it is diverted once all the same.
inline DiversionPlan united(DiversionPlan one, const DiversionPlan& other) {
  const auto take = [](auto& into, const auto& from) {
    into.insert(into.end(), from.begin(), from.end());
    sort_unique(into);
  };
  each_list([&](auto list) { take(one.*list, other.*list); });
  return one;
}

}  // namespace limpet::datapath
