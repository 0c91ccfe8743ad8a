// rules_generators.h: random iptables programs as values, of every form that the printer knows.
#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include <rapidcheck.h>

#include "lb/rules/ruleset.h"

namespace limpet::rules::properties {

using net::Family;
using net::Protocol;

template <typename T>
T one_of(std::vector<T> values) {
  return *rc::gen::elementOf(std::move(values));
}
inline bool coin() {
  return *rc::gen::arbitrary<bool>();
}
inline std::uint32_t word() {
  return *rc::gen::arbitrary<std::uint32_t>();
}
inline std::uint32_t between(std::uint32_t low, std::uint32_t high) {
  return *rc::gen::inRange<std::uint32_t>(low, high + 1);
}

/// Any bytes that stand between quotation marks on one line.
inline std::string any_text(std::size_t longest) {
  const auto character = rc::gen::suchThat(rc::gen::arbitrary<char>(), [](char c) { return c != '\n'; });
  std::string text = *rc::gen::container<std::string>(character);
  return text.substr(0, longest);
}

inline net::Address any_address(Family family) {
  std::array<std::byte, 16> bytes{};
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(between(0, 255));
  return net::Address::from_wire(family, bytes.data());
}
inline MaskedAddress any_masked(Family family) {
  const net::Address mask =
      coin() ? mask_of_length(family, between(1, family == Family::v4 ? 32 : 128)) : any_address(family);
  return {any_address(family), mask.is_unspecified() ? mask_of_length(family, 1) : mask};
}
inline PortRange any_ports(std::uint32_t lowest = 0) {
  const auto a = static_cast<std::uint16_t>(between(lowest, 65535));
  const auto b = coin() ? a : static_cast<std::uint16_t>(between(lowest, 65535));
  return {std::min(a, b), std::max(a, b)};
}
template <typename T>
std::optional<Condition<T>> maybe(const auto& value) {
  if (coin()) return std::nullopt;
  T drawn = value();
  return Condition<T>{std::move(drawn), coin()};
}

inline affinity::RecentMatch any_recent(Family family) {
  using enum affinity::RecentOperation;
  affinity::RecentMatch match;
  match.operation = one_of<affinity::RecentOperation>({set, rcheck, update, remove});
  match.inverted = coin();
  match.by_destination = coin();
  match.mask = affinity::RecentMask(any_address(family));
  match.name = any_text(40);
  match.name.erase(std::remove_if(match.name.begin(), match.name.end(), [](char c) { return c == '/' || c == '\0'; }),
                   match.name.end());
  if (match.name.empty() || match.name == "." || match.name == "..") match.name = "DEFAULT";
  if (match.operation != rcheck && match.operation != update) return match;
  match.rttl = coin();
  match.hitcount = between(0, 65535);
  match.seconds = coin() ? 0 : std::max(1U, word());
  match.reap = match.seconds != 0 && coin();
  return match;
}

/// A match that fits a rule of this protocol.
inline Match any_match(Family family, Protocol protocol) {
  switch (between(0, 9)) {
    case 0:
      return TransportMatch{protocol, maybe<PortRange>([] { return any_ports(); }),
                            maybe<PortRange>([] { return any_ports(); })};
    case 1: {
      using enum MultiportMatch::Side;
      MultiportMatch match{one_of<MultiportMatch::Side>({source, destination, either}), {}, coin()};
      for (std::uint32_t left = between(1, 7); left > 0; --left) match.ports.push_back(any_ports());
      return match;
    }
    case 2:
      return CommentMatch{any_text(255)};
    case 3:
      return MarkMatch{word(), coin() ? 0xffffffff : word(), coin()};
    case 4: {
      const auto kinds = [family] {
        const std::uint32_t any = between(1, 15);
        const std::uint32_t fitting = family == Family::v4 ? any : any & ~std::uint32_t{kBroadcast};
        return static_cast<std::uint8_t>(fitting == 0 ? std::uint32_t{kLocal} : fitting);
      };
      AddrtypeMatch match{maybe<std::uint8_t>(kinds), maybe<std::uint8_t>(kinds)};
      if (!match.source && !match.destination) match.source = {kLocal, coin()};
      return match;
    }
    case 5: {
      const bool old_name = coin();
      return ConntrackMatch{static_cast<std::uint8_t>(between(1, old_name ? 31 : 127)), coin(), old_name};
    }
    case 6:
      return RandomMatch{between(0, RandomMatch::kAlways), coin()};
    case 7: {
      const std::uint32_t every = std::max(1U, word());
      return NthRule{every, between(0, every - 1), coin()};
    }
    case 8: {
      using enum SetMatch::Side;
      SetMatch match{one_of<std::string>({"blocked", "a-b_c", "x.y", "with space"}), {}, coin()};
      for (std::uint32_t left = between(1, 3); left > 0; --left) {
        match.sides.push_back(one_of<SetMatch::Side>({source, destination}));
      }
      return match;
    }
    default:
      return any_recent(family);
  }
}

inline NatRange any_nat_range(Family family, bool may_shift) {
  NatRange range;
  if (coin()) range.ports = any_ports(1);
  if (range.ports && may_shift && coin()) range.base = static_cast<std::uint16_t>(word());
  if (range.ports && coin()) return range;
  const net::Address a = any_address(family), b = coin() ? a : any_address(family);
  range.addresses = {std::min(a, b), std::max(a, b)};
  return range;
}

inline std::optional<PortRange> maybe_ports() {
  return coin() ? std::nullopt : std::optional(any_ports(1));
}

/// A target that may stand in a user's chain of this table.
inline Target any_target(Family family, Table table) {
  std::vector<Target> targets{NoTarget{}, Jump{"OTHER"}, Goto{"OTHER"}, Return{}, Accept{}, SetMark{word(), word()}};
  if (table != Table::nat) targets.emplace_back(Drop{});
  if (table == Table::filter) {
    targets.emplace_back(Reject{family == Family::v4 ? "icmp-host-prohibited" : "icmp6-no-route"});
    targets.emplace_back(Reject{"tcp-reset"});
  }
  if (table == Table::nat) {
    targets.emplace_back(Dnat{any_nat_range(family, true), coin(), coin()});
    targets.emplace_back(Redirect{maybe_ports(), coin()});
    targets.emplace_back(Snat{any_nat_range(family, false), coin(), coin(), coin()});
    targets.emplace_back(Masquerade{maybe_ports(), coin(), coin()});
  }
  return targets[between(0, static_cast<std::uint32_t>(targets.size()) - 1)];
}

inline Rule any_rule(Family family, Table table) {
  Rule rule;
  const auto protocol = one_of<Protocol>({Protocol::tcp, Protocol::udp, Protocol::sctp});
  const auto name = [] { return one_of<std::string>({"eth0", "eth+", "lo", "veth1.2", "a@b"}); };
  if (coin()) rule.counters = {*rc::gen::arbitrary<std::uint64_t>(), *rc::gen::arbitrary<std::uint64_t>()};
  rule.source = maybe<MaskedAddress>([&] { return any_masked(family); });
  rule.destination = maybe<MaskedAddress>([&] { return any_masked(family); });
  rule.in_interface = maybe<std::string>(name);
  rule.out_interface = maybe<std::string>(name);
  rule.protocol = {static_cast<std::uint8_t>(protocol), false};
  for (std::uint32_t left = between(0, 3); left > 0; --left) rule.matches.push_back(any_match(family, protocol));
  rule.target = any_target(family, table);
  const auto* const reject = std::get_if<Reject>(&rule.target);
  if (reject != nullptr && reject->with == "tcp-reset") {
    rule.protocol = {static_cast<std::uint8_t>(Protocol::tcp), false};
    rule.matches.clear();
  }
  return rule;
}

inline Ruleset any_ruleset() {
  Ruleset rules;
  rules.family = coin() ? Family::v4 : Family::v6;
  for (const Table table : {Table::raw, Table::mangle, Table::nat, Table::filter}) {
    if (coin()) continue;
    TableRules& made = rules.table(table);
    Chain& output = made.chain("OUTPUT");
    output.policy = table != Table::nat && coin() ? Policy::drop : Policy::accept;
    output.counters = {word(), word()};
    made.chain("OTHER");
    Chain& mine = made.chain("MINE");
    for (std::uint32_t left = between(0, 4); left > 0; --left) mine.rules.push_back(any_rule(rules.family, table));
  }
  return rules;
}

}  // namespace limpet::rules::properties
