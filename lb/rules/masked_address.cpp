#include "lb/rules/masked_address.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstddef>
#include <cstdint>

namespace limpet::rules {

using net::Address;
using net::Family;

Address masked_by(const Address& address, const Address& mask) noexcept {
  std::array<std::byte, 16> bytes{};
  std::transform(address.bytes().begin(), address.bytes().end(), mask.bytes().begin(), bytes.begin(),
                 [](std::byte a, std::byte b) { return a & b; });
  return Address::from_wire(address.family(), bytes.data());
}

Address mask_of_length(Family family, unsigned length) noexcept {
  std::array<std::byte, 16> ones{};
  ones.fill(std::byte{0xff});
  return Address::from_wire(family, ones.data()).masked(length);
}

std::optional<unsigned> length_of_mask(const Address& mask) noexcept {
  unsigned length = 0;
  for (const std::byte byte : mask.bytes()) {
    length += static_cast<unsigned>(std::countl_one(std::to_integer<std::uint8_t>(byte)));
    if (byte != std::byte{0xff}) break;
  }
  return mask_of_length(mask.family(), length) == mask ? std::optional(length) : std::nullopt;
}

std::optional<MaskedAddress> MaskedAddress::parse(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  const auto address = Address::parse(text.substr(0, slash));
  if (!address) return std::nullopt;
  if (slash == std::string_view::npos)
    return MaskedAddress(*address, mask_of_length(address->family(), address->bits()));
  const std::string_view mask = text.substr(slash + 1);
  unsigned length = 0;
  const auto [end, error] = std::from_chars(mask.data(), mask.data() + mask.size(), length);
  if (error == std::errc() && end == mask.data() + mask.size()) {
    if (length > address->bits()) return std::nullopt;
    return MaskedAddress(*address, mask_of_length(address->family(), length));
  }
  const auto spelled = Address::parse(mask);
  if (!spelled || spelled->family() != address->family()) return std::nullopt;
  return MaskedAddress(*address, *spelled);
}

std::string MaskedAddress::to_string() const {
  const auto length = length_of_mask(mask_);
  return value_.to_string() + "/" + (length ? std::to_string(*length) : mask_.to_string());
}

}  // namespace limpet::rules
