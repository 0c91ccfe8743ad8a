// affinity_name.h: what a flow knows of its client's affinity, so that it can be spoken of without asking again.
//
//   scope      whose clients they are: a service port, or several that share them; 24 bits, 0: nothing is remembered
//   prefix     clients whose addresses agree in so many bits are one; 0: in all
//   endpoint   the id under which the endpoint is remembered there
//
// Eight bytes, as a flow's record keeps it. What a scope is, is the business of the layers above.
#pragma once

#include <algorithm>
#include <cstdint>

#include "conntrack/net/address.h"

namespace limpet::flow {

class AffinityName {
 public:
  AffinityName() noexcept = default;
  AffinityName(std::uint32_t scope, std::uint8_t prefix, std::uint32_t endpoint) noexcept
      : scope_and_prefix_(scope << 8 | prefix), endpoint_(endpoint) {}

  explicit operator bool() const noexcept { return scope() != 0; }
  std::uint32_t scope() const noexcept { return scope_and_prefix_ >> 8; }
  std::uint32_t endpoint() const noexcept { return endpoint_; }
  /// Under which this client is known.
  net::Address mask(const net::Address& client) const noexcept {
    const unsigned prefix = scope_and_prefix_ & 0xff;
    return prefix == 0 ? client : client.masked(std::min(prefix, client.bits()));
  }
  friend bool operator==(const AffinityName&, const AffinityName&) noexcept = default;

 private:
  std::uint32_t scope_and_prefix_ = 0;
  std::uint32_t endpoint_ = 0;
};
static_assert(sizeof(AffinityName) == 8);

}  // namespace limpet::flow
