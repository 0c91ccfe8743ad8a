// endpoint_id.h: the name under which flows and affinities remember an endpoint.
//
//   slot  index into a fixed array of endpoint states; may serve again once no flow and no affinity names it
//   id    never reused. The two are always checked together, so a stale name can never stand for a newer endpoint
//
// One endpoint of one service port has one name; what it stands for is the business of the layers above.
#pragma once

#include <compare>
#include <cstdint>

namespace limpet::flow {

struct EndpointId {
  std::uint32_t slot = 0;
  std::uint32_t id = 0;  // 0: no endpoint
  explicit operator bool() const noexcept { return id != 0; }
  friend auto operator<=>(const EndpointId&, const EndpointId&) noexcept = default;
};

}  // namespace limpet::flow
