// describe.h: packets for people: what differs between the packet that was expected and the one that came.
//
//   expected  udp 198.51.100.7:40000 > 10.2.1.2:53, ttl 64, 33 bytes
//   came      udp 198.51.100.7:40000 > 10.96.0.10:53, ttl 64, 33 bytes
//     10  expected  0a 02 01 02 9c 40 …
//         came      0a 60 00 0a 9c 40 …
//                      ^^ ^^ ^^
#pragma once

#include <string>

#include "tests/golden/runner/packet_spec.h"

namespace limpet::golden {

/// One line; any bytes.
std::string describe(const Bytes& packet);

/// As above; several lines.
std::string describe_difference(const Bytes& expected, const Bytes& came);

}  // namespace limpet::golden
