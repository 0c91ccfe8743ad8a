#include "lb/rules/demands.h"

#include <algorithm>
#include <type_traits>

#include "lb/rules/match_printer.h"
#include "lb/rules/protocol_names.h"
#include "lb/rules/rule_options.h"

namespace limpet::rules {
namespace {

/// How the values of two demands lie to each other.
enum class Overlap : std::uint8_t { inside, partly, apart };

/// Are the values of `inner` all in `outer`?
Overlap overlap(const MaskedAddress& inner, const MaskedAddress& outer) {
  const auto a = inner.mask().words(), b = outer.mask().words();
  const auto x = inner.value().words(), y = outer.value().words();
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (((x[i] ^ y[i]) & a[i] & b[i]) != 0) return Overlap::apart;
  }
  const bool inside = (b[0] & ~a[0]) == 0 && (b[1] & ~a[1]) == 0;
  return inside ? Overlap::inside : Overlap::partly;
}
Overlap overlap(const PortRange& inner, const PortRange& outer) {
  if (inner.last < outer.first || outer.last < inner.first) return Overlap::apart;
  return outer.first <= inner.first && inner.last <= outer.last ? Overlap::inside : Overlap::partly;
}
Overlap overlap(std::uint8_t inner, std::uint8_t outer) {
  return inner == outer ? Overlap::inside : Overlap::apart;
}
Overlap overlap(const std::string& inner, const std::string& outer) {
  const auto stem = [](const std::string& name) { return name.substr(0, name.size() - (name.ends_with('+') ? 1 : 0)); };
  const bool wide_inner = inner.ends_with('+'), wide_outer = outer.ends_with('+');
  if (wide_outer && stem(inner).starts_with(stem(outer))) return Overlap::inside;
  if (!wide_outer && !wide_inner) return inner == outer ? Overlap::inside : Overlap::apart;
  return wide_inner && stem(outer).starts_with(stem(inner)) ? Overlap::partly : Overlap::apart;
}

/// What is known of a value against what is asked of the same value.
template <typename T>
Relation compare(const Condition<T>& known, const Condition<T>& asked) {
  const auto decided = [&](bool holds) { return holds != asked.inverted ? Relation::implied : Relation::contradicted; };
  if (!known.inverted) {
    const Overlap lie = overlap(known.value, asked.value);
    return lie == Overlap::partly ? Relation::open : decided(lie == Overlap::inside);
  }
  // The value is outside of known.value: it is outside of what lies within that, too.
  return overlap(asked.value, known.value) == Overlap::inside ? decided(false) : Relation::open;
}

/// Of sets of kinds, only the same set is comparable: IPv6 means all of them by it, IPv4 any.
Relation compare_kinds(const Condition<std::uint8_t>& known, const Condition<std::uint8_t>& asked) {
  if (known.value != asked.value) return Relation::open;
  return known.inverted == asked.inverted ? Relation::implied : Relation::contradicted;
}

Relation compare(const SourceIn& known, const SourceIn& asked) {
  return compare(known.network, asked.network);
}
Relation compare(const DestinationIn& known, const DestinationIn& asked) {
  return compare(known.network, asked.network);
}
Relation compare(const InInterface& known, const InInterface& asked) {
  return compare(known.name, asked.name);
}
Relation compare(const OutInterface& known, const OutInterface& asked) {
  return compare(known.name, asked.name);
}
Relation compare(const ProtocolIs& known, const ProtocolIs& asked) {
  return compare(known.number, asked.number);
}
Relation compare(const PortIn& known, const PortIn& asked) {
  return known.destination == asked.destination ? compare(known.ports, asked.ports) : Relation::open;
}
Relation compare(const KindIs& known, const KindIs& asked) {
  return known.destination == asked.destination ? compare_kinds(known.kinds, asked.kinds) : Relation::open;
}
/// Rules on the way may change the mark.
Relation compare(const MarkMatch&, const MarkMatch&) {
  return Relation::open;
}
/// Whatever is inverted by a flag: the same but for it, or unknown.
template <typename M>
Relation compare(const M& known, const M& asked) {
  if (known == asked) return Relation::implied;
  M turned = asked;
  turned.inverted = !turned.inverted;
  return known == turned ? Relation::contradicted : Relation::open;
}

std::string with_not(bool inverted, const std::string& text) {
  return (inverted ? "! " : "") + text;
}

struct Printer {
  net::Family family;

  std::string operator()(const SourceIn& d) const {
    return with_not(d.network.inverted, "-s " + d.network.value.to_string());
  }
  std::string operator()(const DestinationIn& d) const {
    return with_not(d.network.inverted, "-d " + d.network.value.to_string());
  }
  std::string operator()(const InInterface& d) const { return with_not(d.name.inverted, "-i " + d.name.value); }
  std::string operator()(const OutInterface& d) const { return with_not(d.name.inverted, "-o " + d.name.value); }
  std::string operator()(const ProtocolIs& d) const {
    return with_not(d.number.inverted, "-p " + protocol_name(d.number.value));
  }
  std::string operator()(const PortIn& d) const {
    return with_not(d.ports.inverted, (d.destination ? "--dport " : "--sport ") + to_string(d.ports.value, ':'));
  }
  std::string operator()(const KindIs& d) const {
    AddrtypeMatch match;
    (d.destination ? match.destination : match.source) = d.kinds;
    return less_module(Match(match));
  }
  template <typename M>
  std::string operator()(const M& match) const {
    return less_module(Match(match));
  }

  /// "-m mark --mark 0x1" → "--mark 0x1"
  std::string less_module(const Match& match) const {
    const std::string text = print(match, family);
    const std::size_t name = text.find(' ') + 1;
    return text.substr(text.find(' ', name) + 1);
  }
};

bool is_single(const MaskedAddress& network) {
  return length_of_mask(network.mask()) == network.value().bits();
}

/// Sorts the parts of a rule into demands and events.
class Dissector {
 public:
  explicit Dissector(const Rule& rule) : rule_(rule) {}

  Dissected run() {
    if (rule_.source) result_.demands.emplace_back(SourceIn{*rule_.source});
    if (rule_.destination) result_.demands.emplace_back(DestinationIn{*rule_.destination});
    if (rule_.in_interface) result_.demands.emplace_back(InInterface{*rule_.in_interface});
    if (rule_.out_interface) result_.demands.emplace_back(OutInterface{*rule_.out_interface});
    if (rule_.protocol) result_.demands.emplace_back(ProtocolIs{*rule_.protocol});
    for (at_ = 0; at_ < rule_.matches.size(); ++at_) {
      std::visit([this](const auto& match) { add(match); }, rule_.matches[at_]);
    }
    return std::move(result_);
  }

 private:
  void demand(Demand demand) {
    if (relation(result_.demands, demand) == Relation::implied) return;
    if (consequences_) result_.demands_first = false;
    result_.demands.push_back(std::move(demand));
  }
  void add(const CommentMatch&) {}
  void add(const TransportMatch& match) {
    demand(ProtocolIs{{static_cast<std::uint8_t>(match.protocol), false}});
    if (match.source) demand(PortIn{false, *match.source});
    if (match.destination) demand(PortIn{true, *match.destination});
  }
  void add(const AddrtypeMatch& match) {
    if (match.source) demand(KindIs{false, *match.source});
    if (match.destination) demand(KindIs{true, *match.destination});
  }
  void add(const ConntrackMatch& match) {
    if ((match.states & kNew) == 0 || match.inverted) demand(match);
  }
  void add(const MultiportMatch& match) {
    const bool one_side = match.side != MultiportMatch::Side::either;
    if (!one_side || match.ports.size() != 1) return demand(match);
    demand(PortIn{match.side == MultiportMatch::Side::destination, {match.ports.front(), match.inverted}});
  }
  void add(const MarkMatch& match) { demand(match); }
  void add(const SetMatch& match) { demand(match); }
  void add(const affinity::RecentMatch& match) {
    using affinity::RecentOperation;
    consequences_ = consequences_ || match.operation != RecentOperation::rcheck || match.reap;
    result_.events.push_back(at_);
  }
  void add(const RandomMatch&) { result_.events.push_back(at_); }
  void add(const NthRule&) {
    consequences_ = true;
    result_.events.push_back(at_);
  }

  const Rule& rule_;
  Dissected result_;
  std::size_t at_ = 0;
  bool consequences_ = false;  // of an event so far
};

}  // namespace

std::string print(const Demand& demand, net::Family family) {
  return std::visit(Printer{family}, demand);
}

std::string print(std::span<const Demand> demands, net::Family family) {
  std::string text;
  for (const Demand& demand : demands) text += (text.empty() ? "" : " ") + print(demand, family);
  return text;
}

Demand opposite(const Demand& demand) {
  Demand turned = demand;
  std::visit(
      [](auto& d) {
        using D = std::decay_t<decltype(d)>;
        if constexpr (std::is_same_v<D, SourceIn> || std::is_same_v<D, DestinationIn>) {
          d.network.inverted = !d.network.inverted;
        } else if constexpr (std::is_same_v<D, InInterface> || std::is_same_v<D, OutInterface>) {
          d.name.inverted = !d.name.inverted;
        } else if constexpr (std::is_same_v<D, ProtocolIs>) {
          d.number.inverted = !d.number.inverted;
        } else if constexpr (std::is_same_v<D, PortIn>) {
          d.ports.inverted = !d.ports.inverted;
        } else if constexpr (std::is_same_v<D, KindIs>) {
          d.kinds.inverted = !d.kinds.inverted;
        } else {
          d.inverted = !d.inverted;
        }
      },
      turned);
  return turned;
}

Relation relation(std::span<const Demand> known, const Demand& demand) {
  for (const Demand& one : known) {
    if (one.index() != demand.index()) continue;
    const Relation found =
        std::visit([&](const auto& d) { return compare(d, std::get<std::decay_t<decltype(d)>>(demand)); }, one);
    if (found != Relation::open) return found;
  }
  return Relation::open;
}

bool implies(std::span<const Demand> known, std::span<const Demand> demands) {
  return std::all_of(demands.begin(), demands.end(),
                     [&](const Demand& demand) { return relation(known, demand) == Relation::implied; });
}

std::optional<net::Address> destination_of(std::span<const Demand> demands) {
  for (const Demand& demand : demands) {
    const auto* const in = std::get_if<DestinationIn>(&demand);
    if (in != nullptr && !in->network.inverted && is_single(in->network.value)) return in->network.value.value();
  }
  return std::nullopt;
}

std::optional<std::uint16_t> destination_port_of(std::span<const Demand> demands) {
  for (const Demand& demand : demands) {
    const auto* const in = std::get_if<PortIn>(&demand);
    if (in == nullptr || !in->destination || in->ports.inverted) continue;
    if (in->ports.value.first == in->ports.value.last) return in->ports.value.first;
  }
  return std::nullopt;
}

std::optional<std::uint8_t> protocol_of(std::span<const Demand> demands) {
  for (const Demand& demand : demands) {
    const auto* const is = std::get_if<ProtocolIs>(&demand);
    if (is != nullptr && !is->number.inverted) return is->number.value;
  }
  return std::nullopt;
}

Dissected dissect(const Rule& rule) {
  return Dissector(rule).run();
}

}  // namespace limpet::rules
