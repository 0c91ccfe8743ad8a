#include "lb/rules/known_destination.h"

#include <algorithm>
#include <variant>

namespace limpet::rules {
namespace {

std::vector<PortRange> complement(std::vector<PortRange> ranges) {
  constexpr std::uint16_t kLast = KnownDestination::kAllPorts.last;
  std::ranges::sort(ranges);
  std::vector<PortRange> gaps;
  std::uint32_t from = 0;
  for (const PortRange& range : ranges) {
    if (from < range.first) {
      gaps.push_back({static_cast<std::uint16_t>(from), static_cast<std::uint16_t>(range.first - 1)});
    }
    from = std::max(from, range.last + std::uint32_t{1});
  }
  if (from <= kLast) gaps.push_back({static_cast<std::uint16_t>(from), kLast});
  return gaps;
}

std::vector<PortRange> intersection(const std::vector<PortRange>& some, const std::vector<PortRange>& others) {
  std::vector<PortRange> common;
  for (const PortRange& a : some) {
    for (const PortRange& b : others) {
      const PortRange both{std::max(a.first, b.first), std::min(a.last, b.last)};
      if (both.first <= both.last) common.push_back(both);
    }
  }
  std::ranges::sort(common);
  return common;
}

/// Takes one demand after the other. False: no packet fulfils it.
class Narrower {
 public:
  explicit Narrower(KnownDestination& known) : known_(known) {}

  bool operator()(const DestinationIn& asked) {
    const auto& [theirs, inverted] = asked.network;
    auto& ours = known_.network;
    if (!ours) {
      if (!inverted) ours.emplace(theirs.value(), theirs.mask());
      return !inverted || !theirs.contains_all();
    }
    const Demands known{DestinationIn{{MaskedAddress(ours->first, ours->second), false}}};
    const Relation lie = relation(known, Demand(asked));
    if (lie == Relation::contradicted) return false;
    // Where theirs lies within ours, or across it, it holds all that both hold.
    if (lie == Relation::open && !inverted) ours.emplace(theirs.value(), theirs.mask());
    return true;
  }
  bool operator()(const KindIs& asked) {
    if (!asked.destination || asked.kinds.value != kLocal) return true;
    if (asked.kinds.inverted) return !known_.local;
    return known_.local = true;
  }
  bool operator()(const ProtocolIs& asked) {
    const auto& [number, inverted] = asked.number;
    if (known_.protocol) return (*known_.protocol == number) != inverted;
    if (!inverted) known_.protocol = number;
    return true;
  }
  bool operator()(const PortIn& asked) { return !asked.destination || keep({asked.ports.value}, asked.ports.inverted); }
  bool operator()(const MultiportMatch& asked) {
    return asked.side != MultiportMatch::Side::destination || keep(asked.ports, asked.inverted);
  }
  template <typename Other>
  bool operator()(const Other&) {
    return true;
  }

 private:
  bool keep(const std::vector<PortRange>& ports, bool inverted) {
    known_.ports = intersection(known_.ports, inverted ? complement(ports) : ports);
    return !known_.ports.empty();
  }

  KnownDestination& known_;
};

}  // namespace

bool KnownDestination::narrow(const Demand& demand) {
  return std::visit(Narrower(*this), demand);
}

bool asks_of_destination_alone(const Demand& demand) {
  if (const auto* const ports = std::get_if<PortIn>(&demand)) return ports->destination;
  if (const auto* const kinds = std::get_if<KindIs>(&demand)) return kinds->destination;
  if (const auto* const ports = std::get_if<MultiportMatch>(&demand)) {
    return ports->side == MultiportMatch::Side::destination;
  }
  return std::holds_alternative<DestinationIn>(demand) || std::holds_alternative<ProtocolIs>(demand);
}

}  // namespace limpet::rules
