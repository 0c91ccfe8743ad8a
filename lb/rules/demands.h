// demands.h: what a rule asks of a packet, taken apart into what can be compared and what remembers, counts or draws.
//
//   -s 10.0.0.0/8 -p tcp -m comment --comment web -m tcp --dport 80 -m statistic --mode random --probability 0.5
//   └───── demands ────┘                          └─ a demand ────┘ └──────────────── an event ───────────────┘
//
//   demand   of this packet alone: its order among others does not matter. What every packet there fulfils is left out:
//            comments, -m tcp without ports behind -p tcp, connection state NEW (dissect() is for connections
//            that begin, behind raw)
//   event    recent, statistic: depends on other packets or on luck, or changes what later packets meet
//
// Demands of a list of rules are a conjunction. relation() says of one more demand whether a packet that fulfils the list
// must, cannot, or may fulfil it: whatever is not decided is `open`, which is never wrong. A mark is
// always: rules on the way change it. Plain values, pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "lb/rules/ruleset.h"

namespace limpet::rules {

struct SourceIn {
  Condition<MaskedAddress> network;
  friend bool operator==(const SourceIn&, const SourceIn&) = default;
};
struct DestinationIn {
  Condition<MaskedAddress> network;
  friend bool operator==(const DestinationIn&, const DestinationIn&) = default;
};
struct InInterface {
  Condition<std::string> name;
  friend bool operator==(const InInterface&, const InInterface&) = default;
};
struct OutInterface {
  Condition<std::string> name;
  friend bool operator==(const OutInterface&, const OutInterface&) = default;
};
struct ProtocolIs {
  Condition<std::uint8_t> number;
  friend bool operator==(const ProtocolIs&, const ProtocolIs&) = default;
};
/// Of one side; the protocol is a demand of its own.
struct PortIn {
  bool destination = true;
  Condition<PortRange> ports;
  friend bool operator==(const PortIn&, const PortIn&) = default;
};
/// Of one side: is the kind of its address one of these?
struct KindIs {
  bool destination = true;
  Condition<std::uint8_t> kinds;
  friend bool operator==(const KindIs&, const KindIs&) = default;
};

using Demand = std::variant<SourceIn, DestinationIn, InInterface, OutInterface, ProtocolIs, PortIn, KindIs,
                            MultiportMatch, MarkMatch, ConntrackMatch, SetMatch>;
using Demands = std::vector<Demand>;

/// "-s 10.0.0.0/8", "--dport 80": as a rule of this family would have it, less the "-m" of its match.
std::string print(const Demand& demand, net::Family family);
/// "-s 10.0.0.0/8 --dport 80"
std::string print(std::span<const Demand> demands, net::Family family);

/// Whatever does not fulfil the one fulfils the other.
Demand opposite(const Demand& demand);

enum class Relation : std::uint8_t { implied, open, contradicted };
Relation relation(std::span<const Demand> known, const Demand& demand);
/// A packet that fulfils `known` fulfils them all, as far as relation() can tell.
bool implies(std::span<const Demand> known, std::span<const Demand> demands);

/// The single value, where there is one.
std::optional<net::Address> destination_of(std::span<const Demand> demands);
std::optional<std::uint16_t> destination_port_of(std::span<const Demand> demands);
std::optional<std::uint8_t> protocol_of(std::span<const Demand> demands);

struct Dissected {
  Demands demands;
  std::vector<std::size_t> events;  // indexes into Rule::matches, in order
  /// Everything is demanded before the first event that remembers or counts: such events see fulfilling packets only.
  bool demands_first = true;
};

Dissected dissect(const Rule& rule);

}  // namespace limpet::rules
