// recent_fixture.h: what tests of `recent` lists are written with.
#pragma once

#include <string>
#include <vector>

#include "lb/affinity/recent_lists.h"

namespace limpet::affinity {

inline net::Address address(const std::string& text) {
  return *net::Address::parse(text);
}

inline RecentMatch rule(RecentOperation operation) {
  RecentMatch match;
  match.operation = operation;
  match.name = "L";
  return match;
}
inline RecentMatch with_seconds(RecentMatch match, std::uint32_t seconds) {
  match.seconds = seconds;
  return match;
}
inline RecentMatch with_hitcount(RecentMatch match, std::uint32_t hitcount) {
  match.hitcount = hitcount;
  return match;
}
inline RecentMatch with_reap(RecentMatch match, std::uint32_t seconds) {
  match.reap = true;
  return with_seconds(match, seconds);
}
inline RecentMatch with_rttl(RecentMatch match) {
  match.rttl = true;
  return match;
}
inline RecentMatch inverted(RecentMatch match) {
  match.inverted = true;
  return match;
}
inline RecentMatch masked(RecentMatch match, const std::string& mask) {
  match.mask = RecentMask(address(mask));
  return match;
}

inline const RecentMatch kSet = rule(RecentOperation::set);
inline const RecentMatch kRcheck = rule(RecentOperation::rcheck);
inline const RecentMatch kUpdate = rule(RecentOperation::update);
inline const RecentMatch kRemove = rule(RecentOperation::remove);

inline RecentPacket from(const std::string& source, std::uint8_t ttl = 64) {
  const net::Address parsed = address(source);
  return {parsed, parsed.is_v4() ? address("192.0.2.1") : address("2001:db8::1"), ttl};
}

/// The addresses of a list, the next to be evicted first.
inline std::vector<std::string> order(const RecentTable& table) {
  std::vector<std::string> addresses;
  for (const RecentRecord& record : table.records()) addresses.push_back(record.address.to_string());
  return addresses;
}

}  // namespace limpet::affinity
