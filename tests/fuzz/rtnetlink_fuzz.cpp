// rtnetlink_fuzz.cpp: hostile rtnetlink messages, read as addresses, as routes and as devices.
#include <cstddef>
#include <cstdint>
#include <span>

#include "lb/node/rtnetlink.h"
#include "tests/fuzz/require.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using limpet::fuzz::require;
  const auto message = std::as_bytes(std::span(data, size));
  const auto address = limpet::node::parse_address(message);
  const auto routes = limpet::node::parse_route(message);
  const auto limits = limpet::node::parse_limits(message);
  require((address ? 1 : 0) + (routes.empty() ? 0 : 1) + (limits ? 1 : 0) <= 1, "a message is one thing or the other");
  require(!limits || (!limits->device.empty() && limits->device.size() < size), "a name of the message's bytes");
  if (address) {
    require(address->prefix_length <= address->address.bits(), "a prefix is no longer than the address");
    require(!address->peer || address->peer->family() == address->address.family(), "one family in one message");
  }
  // Each next hop takes at least the eight bytes of an rtnexthop.
  require(routes.size() <= size / 8 + 1, "no more next hops than the message has room for");
  for (const auto& route : routes) {
    const auto family = route.destination.address().family();
    require(route.destination.length() <= route.destination.address().bits(), "a prefix is no longer than the address");
    require(!route.gateway || route.gateway->family() == family, "the gateway is of the route's family");
    require(!route.preferred_source || route.preferred_source->family() == family, "and so is the source");
  }
  return 0;
}
