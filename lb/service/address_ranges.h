// address_ranges.h: a set of addresses, given as CIDRs of either family, asked once for each new connection.
//
// Kept as sorted ranges that neither overlap nor touch, so one binary search answers, however many CIDRs there were and
// however they nest. Immutable. O(log ranges).
#pragma once

#include <span>
#include <vector>

#include "conntrack/net/address.h"

namespace limpet::service {

class AddressRanges {
 public:
  explicit AddressRanges(std::span<const net::Prefix> prefixes);

  bool contain(const net::Address& address) const noexcept;
  bool empty() const noexcept { return ranges_.empty(); }

 private:
  struct Range {
    net::Address first;
    net::Address last;  // inclusive, of the same family
  };
  std::vector<Range> ranges_;  // by first; IPv4 and IPv6 do not mix
};

}  // namespace limpet::service
