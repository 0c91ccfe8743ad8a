// facts.h: what a packet shows to the rules of one chain.
//
// Addresses change where NAT translates, the mark where MARK sets it, interfaces from hook to hook: Facts are of one
// packet at one moment. Plain value.
#pragma once

#include <cstdint>
#include <string_view>

#include "conntrack/net/address.h"
#include "lb/node/node_view.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

struct Facts {
  net::Tuple tuple;
  std::string_view in_interface = {};   // "" where there is none: OUTPUT, POSTROUTING
  std::string_view out_interface = {};  // "" where there is none: PREROUTING, INPUT
  std::uint32_t mark = 0;
  std::uint8_t ttl = 0;                  // before this node decrements it
  std::uint8_t states = kNew;            // ConnectionState, or-ed
  const node::NodeView* node = nullptr;  // nullptr: no address is local
};

/// What the kernel takes an IPv4 address for (inet_addr_type).
AddressKind kind_of_v4(const net::Address& address, const node::NodeView* node);

/// Addresses, interfaces, protocol.
bool header_matches(const Rule& rule, const Facts& facts);
bool matches(const TransportMatch& match, const Facts& facts);
bool matches(const MultiportMatch& match, const Facts& facts);
bool matches(const MarkMatch& match, const Facts& facts);
bool matches(const AddrtypeMatch& match, const Facts& facts);
bool matches(const ConntrackMatch& match, const Facts& facts);

}  // namespace limpet::rules
