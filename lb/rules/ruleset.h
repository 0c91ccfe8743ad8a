// ruleset.h: an iptables program as values: what iptables-save prints, taken apart.
//
//   Ruleset ── tables ── chains ── rules ── conditions on addresses, interfaces, protocol
//                                        ── matches, in the order in which the kernel asks them
//                                        ── a target
//
// Nothing here is evaluated and no name is resolved: a jump may lead nowhere yet (a partial dump), see chains.h. Two
// rules are equal if they say the same, wherever they stand: `line` is not compared. Texts: ruleset_text.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "conntrack/net/address.h"
#include "lb/affinity/recent_match.h"
#include "lb/rules/masked_address.h"
#include "lb/rules/statistic.h"

namespace limpet::rules {

/// In the order in which a packet meets them at one hook.
enum class Table : std::uint8_t { raw, mangle, nat, filter };
std::string_view to_string(Table table) noexcept;
std::optional<Table> parse_table(std::string_view name) noexcept;

struct Counters {
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
  friend bool operator==(const Counters&, const Counters&) noexcept = default;
};

/// `value`, or ("!") anything else.
template <typename T>
struct Condition {
  T value;
  bool inverted = false;
  friend bool operator==(const Condition&, const Condition&) = default;
};

/// first <= last
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  bool contains(std::uint16_t port) const noexcept { return first <= port && port <= last; }
  friend auto operator<=>(const PortRange&, const PortRange&) noexcept = default;
};

// Matches.

/// -m tcp, udp, sctp. Nothing given: any packet of the protocol.
struct TransportMatch {
  net::Protocol protocol = net::Protocol::tcp;
  std::optional<Condition<PortRange>> source;
  std::optional<Condition<PortRange>> destination;
  friend bool operator==(const TransportMatch&, const TransportMatch&) = default;
};

struct MultiportMatch {
  enum class Side : std::uint8_t { source, destination, either };
  Side side = Side::destination;
  std::vector<PortRange> ports;
  bool inverted = false;
  friend bool operator==(const MultiportMatch&, const MultiportMatch&) = default;
};

struct CommentMatch {
  std::string text;
  friend bool operator==(const CommentMatch&, const CommentMatch&) = default;
};

/// mark & mask == value
struct MarkMatch {
  std::uint32_t value = 0;
  std::uint32_t mask = 0xffffffff;
  bool inverted = false;
  friend bool operator==(const MarkMatch&, const MarkMatch&) = default;
};

/// Sets of kinds of addresses are these, or-ed.
enum AddressKind : std::uint8_t { kUnicast = 1, kLocal = 2, kBroadcast = 4, kMulticast = 8 };
struct AddrtypeMatch {
  std::optional<Condition<std::uint8_t>> source;
  std::optional<Condition<std::uint8_t>> destination;
  friend bool operator==(const AddrtypeMatch&, const AddrtypeMatch&) = default;
};

/// Sets of connection states are these, or-ed.
enum ConnectionState : std::uint8_t {
  kInvalid = 1,
  kNew = 2,
  kRelated = 4,
  kEstablished = 8,
  kUntracked = 16,
  kSnat = 32,
  kDnat = 64,
};
struct ConntrackMatch {
  std::uint8_t states = 0;
  bool inverted = false;
  bool old_name = false;  // -m state --state
  friend bool operator==(const ConntrackMatch&, const ConntrackMatch&) = default;
};

struct SetMatch {
  enum class Side : std::uint8_t { source, destination };
  std::string name;
  std::vector<Side> sides;  // one for each part of an element
  bool inverted = false;
  friend bool operator==(const SetMatch&, const SetMatch&) = default;
};

using Match = std::variant<TransportMatch, MultiportMatch, CommentMatch, MarkMatch, AddrtypeMatch, ConntrackMatch,
                           affinity::RecentMatch, RandomMatch, NthRule, SetMatch>;

// Targets.

/// Counts, and goes on with the next rule.
struct NoTarget {
  friend bool operator==(NoTarget, NoTarget) noexcept = default;
};
struct Jump {
  std::string chain;
  friend bool operator==(const Jump&, const Jump&) = default;
};
/// As Jump, but the end of `chain` returns to where this chain was called from.
struct Goto {
  std::string chain;
  friend bool operator==(const Goto&, const Goto&) = default;
};
struct Return {
  friend bool operator==(Return, Return) noexcept = default;
};
struct Accept {
  friend bool operator==(Accept, Accept) noexcept = default;
};
struct Drop {
  friend bool operator==(Drop, Drop) noexcept = default;
};
struct Reject {
  std::string with;  // "icmp-port-unreachable", "tcp-reset", …
  friend bool operator==(const Reject&, const Reject&) = default;
};

/// mark := (mark & ~mask) ^ value: all five options of MARK are this one.
struct SetMark {
  std::uint32_t value = 0;
  std::uint32_t mask = 0xffffffff;
  friend bool operator==(const SetMark&, const SetMark&) noexcept = default;
};

/// What NAT may choose from; what is absent is left as it is.
struct NatRange {
  struct Addresses {
    net::Address first;
    net::Address last;
    friend bool operator==(const Addresses&, const Addresses&) noexcept = default;
  };
  std::optional<Addresses> addresses;
  std::optional<PortRange> ports;
  std::optional<std::uint16_t> base;  // the port that becomes ports.first; those after it follow
  friend bool operator==(const NatRange&, const NatRange&) noexcept = default;
};
struct Dnat {
  NatRange to;
  bool random = false;
  bool persistent = false;
  friend bool operator==(const Dnat&, const Dnat&) noexcept = default;
};
struct Redirect {
  std::optional<PortRange> ports;
  bool random = false;
  friend bool operator==(const Redirect&, const Redirect&) noexcept = default;
};
struct Snat {
  NatRange to;
  bool random = false;
  bool random_fully = false;
  bool persistent = false;
  friend bool operator==(const Snat&, const Snat&) noexcept = default;
};
struct Masquerade {
  std::optional<PortRange> ports;
  bool random = false;
  bool random_fully = false;
  friend bool operator==(const Masquerade&, const Masquerade&) noexcept = default;
};

using Target =
    std::variant<NoTarget, Jump, Goto, Return, Accept, Drop, Reject, SetMark, Dnat, Redirect, Snat, Masquerade>;

struct Rule {
  std::size_t line = 0;  // where it stands; 0: in no text
  std::optional<Counters> counters;
  std::optional<Condition<MaskedAddress>> source;
  std::optional<Condition<MaskedAddress>> destination;
  std::optional<Condition<std::string>> in_interface;  // "eth+": every name that begins so
  std::optional<Condition<std::string>> out_interface;
  std::optional<Condition<std::uint8_t>> protocol;  // IANA's number
  std::vector<Match> matches;
  Target target;

  friend bool operator==(const Rule& a, const Rule& b) {
    return a.counters == b.counters && a.source == b.source && a.destination == b.destination &&
           a.in_interface == b.in_interface && a.out_interface == b.out_interface && a.protocol == b.protocol &&
           a.matches == b.matches && a.target == b.target;
  }
};

enum class Policy : std::uint8_t { accept, drop };

struct Chain {
  std::string name;
  std::optional<Policy> policy;  // of built-in chains
  Counters counters;
  std::vector<Rule> rules;
  friend bool operator==(const Chain&, const Chain&) = default;
};

/// Is this a chain that the kernel itself enters in this table?
bool is_built_in(Table table, std::string_view chain) noexcept;

struct TableRules {
  Table table = Table::nat;
  std::vector<Chain> chains;

  /// nullptr: there is none of this name.
  const Chain* find(std::string_view name) const noexcept;
  /// That chain, made at the end (built-in: policy ACCEPT) if it is not there.
  Chain& chain(std::string_view name);
  friend bool operator==(const TableRules&, const TableRules&) = default;
};

struct Ruleset {
  net::Family family = net::Family::v4;
  std::vector<TableRules> tables;

  const TableRules* find(Table table) const noexcept;
  /// That table, made at the end if it is not there.
  TableRules& table(Table table);
  friend bool operator==(const Ruleset&, const Ruleset&) = default;
};

}  // namespace limpet::rules
