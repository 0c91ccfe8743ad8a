// captures.h: captured packets for tests, without a file.
#pragma once

#include <chrono>
#include <stdexcept>
#include <string>
#include <string_view>

#include "lb/lab/capture_file.h"
#include "tests/support/packet_builder.h"

namespace limpet::lab {

inline net::Address ip(std::string_view text) {
  const auto address = net::Address::parse(text);
  if (!address) throw std::invalid_argument("not an address: " + std::string(text));
  return *address;
}
inline net::AddressPort at(std::string_view text) {
  const auto address = net::AddressPort::parse(text);
  if (!address) throw std::invalid_argument("not an address and port: " + std::string(text));
  return *address;
}
inline net::Tuple tuple(net::Protocol protocol, std::string_view from, std::string_view to) {
  return {protocol, at(from), at(to)};
}

/// `bytes` as a capture hands it out; they must outlive the result.
inline CapturedPacket captured(const test::Bytes& bytes, std::chrono::milliseconds time = {}, Place place = {}) {
  CapturedPacket packet;
  packet.number = 1;
  packet.time = time;
  packet.bytes = bytes;
  packet.length = bytes.size();
  packet.place = place;
  return packet;
}

}  // namespace limpet::lab
