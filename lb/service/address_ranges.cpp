#include "lb/service/address_ranges.h"

#include <algorithm>
#include <array>
#include <cstddef>

namespace limpet::service {
namespace {

/// The prefix's last address.
net::Address last_of(const net::Prefix& prefix) noexcept {
  std::array<std::byte, 16> bytes{};
  const auto first = prefix.address().bytes();
  std::copy(first.begin(), first.end(), bytes.begin());
  for (unsigned bit = prefix.length(); bit < prefix.address().bits(); ++bit) {
    bytes[bit / 8] |= std::byte{0x80} >> (bit % 8);
  }
  return net::Address::from_wire(prefix.address().family(), bytes.data());
}

}  // namespace

/// Two CIDRs are apart, or one holds the other: in order of their first addresses, the wider first, who begins within the
/// last range ends within it.
AddressRanges::AddressRanges(std::span<const net::Prefix> prefixes) {
  std::vector<net::Prefix> sorted(prefixes.begin(), prefixes.end());
  std::sort(sorted.begin(), sorted.end());
  for (const net::Prefix& prefix : sorted) {
    if (!ranges_.empty() && contain(prefix.address())) continue;
    ranges_.push_back({prefix.address(), last_of(prefix)});
  }
}

bool AddressRanges::contain(const net::Address& address) const noexcept {
  const auto after =
      std::upper_bound(ranges_.begin(), ranges_.end(), address,
                       [](const net::Address& wanted, const Range& range) { return wanted < range.first; });
  if (after == ranges_.begin()) return false;
  const Range& range = *(after - 1);
  return range.first.family() == address.family() && address <= range.last;
}

}  // namespace limpet::service
