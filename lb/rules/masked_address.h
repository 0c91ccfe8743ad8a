// masked_address.h: an address and which of its bits count, as rules write them: 10.0.0.0/8, 10.0.5.0/255.0.255.0.
//
// The mask need not be a prefix (the kernel compares `address & mask`), though nearly all are. Bits of the value that do
// not count are zero. Plain value: no allocation, any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "conntrack/net/address.h"

namespace limpet::rules {

/// a & b, bit by bit. Both of one family.
net::Address masked_by(const net::Address& address, const net::Address& mask) noexcept;
/// 255.255.0.0 for 16 bits of IPv4. length <= the family's bits.
net::Address mask_of_length(net::Family family, unsigned length) noexcept;
/// The length that `mask` is the mask of; nullopt if its bits are not contiguous.
std::optional<unsigned> length_of_mask(const net::Address& mask) noexcept;

class MaskedAddress {
 public:
  /// Both of one family.
  MaskedAddress(const net::Address& address, const net::Address& mask) noexcept
      : value_(masked_by(address, mask)), mask_(mask) {}
  /// "10.0.0.1", "10.0.0.0/8", "10.0.0.0/255.0.0.0", "fd00::/8".
  static std::optional<MaskedAddress> parse(std::string_view text) noexcept;

  const net::Address& value() const noexcept { return value_; }
  const net::Address& mask() const noexcept { return mask_; }
  bool contains(const net::Address& address) const noexcept {
    const auto bits = address.words(), mask = mask_.words(), value = value_.words();
    return address.family() == value_.family() && (bits[0] & mask[0]) == value[0] && (bits[1] & mask[1]) == value[1];
  }
  bool contains_all() const noexcept { return mask_.is_unspecified(); }
  /// As iptables-save prints it: "10.0.0.1/32"; the mask in full where it has no length.
  std::string to_string() const;
  friend bool operator==(const MaskedAddress&, const MaskedAddress&) noexcept = default;

 private:
  net::Address value_;
  net::Address mask_;
};

}  // namespace limpet::rules
