// packet_facts.h: what a packet says of itself, for people and for rules: as much as can be read, never an error.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "conntrack/net/address.h"

namespace limpet::datapath {

struct PacketFacts {
  enum class Kind : std::uint8_t {
    transport,       // has ports
    first_fragment,  // has ports, and fellows
    later_fragment,  // ports 0
    icmp_error,      // `quoted` is what it is about; ports 0
    echo_request,    // the destination's port is type and code, as diversion rules name it
    other,           // a protocol without ports
    unreadable,      // not even addresses
  };
  Kind kind = Kind::unreadable;
  net::Tuple tuple;
  net::Tuple quoted;
  std::string detail;  // TCP flags "SA", SCTP chunks "init", the ICMP error's name; may be empty

  bool is_fragment() const noexcept { return kind == Kind::first_fragment || kind == Kind::later_fragment; }
};

/// `packet`: IP header first. Not changed.
PacketFacts facts_of(std::span<std::byte> packet);

/// "port-unreachable", "packet-too-big", …; "type/code" where there is no name.
std::string icmp_error_name(net::Family family, std::uint8_t type, std::uint8_t code);

}  // namespace limpet::datapath
