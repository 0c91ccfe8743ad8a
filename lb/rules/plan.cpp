#include "lb/rules/plan.h"

#include <algorithm>
#include <cmath>

#include "lb/node/route_table.h"

namespace limpet::rules {

std::optional<UnitKey> unit_key(const Rule& rule) {
  UnitKey key;
  if (rule.destination && !rule.destination->inverted) {
    const MaskedAddress& address = rule.destination->value;
    if (length_of_mask(address.mask()) == address.value().bits()) key.address = address.value();
  }
  if (rule.protocol && !rule.protocol->inverted) {
    key.protocol = rule.protocol->value;
    for (const Match& match : rule.matches) {
      // What stands behind these must be reached: they remember and count whatever follows.
      if (std::holds_alternative<affinity::RecentMatch>(match) || std::holds_alternative<NthRule>(match)) break;
      const auto* const transport = std::get_if<TransportMatch>(&match);
      if (transport == nullptr || !transport->destination || transport->destination->inverted) continue;
      const PortRange& ports = transport->destination->value;
      if (ports.first == ports.last) key.port = ports.first;
    }
  }
  return key == UnitKey{} ? std::nullopt : std::optional(key);
}

std::size_t UnitIndex::Hash::operator()(const UnitKey& key) const noexcept {
  const std::size_t address = key.address ? node::AddressHash{}(*key.address) : 0;
  const std::size_t rest = key.protocol.value_or(0) | std::size_t{key.port.value_or(0)} << 8;
  return (address ^ (rest * 0x9e3779b97f4a7c15)) * 0xff51afd7ed558ccd >> 7;
}

void UnitIndex::add(std::uint32_t unit, const std::optional<UnitKey>& key) {
  if (!key) return anywhere_.push_back(unit);
  keyed_[*key].push_back(unit);
  kinds_[(key->address ? 1U : 0U) | (key->protocol ? 2U : 0U) | (key->port ? 4U : 0U)] = true;
}

std::uint32_t UnitIndex::next(std::uint32_t from, const net::Tuple& packet) const noexcept {
  std::uint32_t found = kNone;
  const auto look = [&](const Units& units) {
    const auto unit = std::lower_bound(units.begin(), units.end(), from);
    if (unit != units.end()) found = std::min(found, *unit);
  };
  look(anywhere_);
  for (unsigned kind = 1; kind < kinds_.size(); ++kind) {
    if (!kinds_[kind]) continue;
    UnitKey key;
    if ((kind & 1U) != 0) key.address = packet.destination.address;
    if ((kind & 2U) != 0) key.protocol = static_cast<std::uint8_t>(packet.protocol);
    if ((kind & 4U) != 0) key.port = packet.destination.port;
    if (const auto units = keyed_.find(key); units != keyed_.end()) look(units->second);
  }
  return found;
}

std::string_view to_string(Treatment::How how) noexcept {
  constexpr std::array<std::string_view, 5> kNames{"literal", "keyed", "random", "nth", "recent"};
  return kNames[static_cast<std::size_t>(how)];
}

pick::AliasTable choice_of(const std::vector<RandomMatch>& run) {
  constexpr double kUnits = 4294967295.0;
  std::vector<std::uint32_t> weights;
  double left = 1;
  for (const RandomMatch& match : run) {
    const double plain = static_cast<double>(match.threshold) / RandomMatch::kAlways;
    const double probability = match.inverted ? 1 - plain : plain;
    weights.push_back(static_cast<std::uint32_t>(std::llround(left * probability * kUnits)));
    left *= 1 - probability;
  }
  weights.push_back(static_cast<std::uint32_t>(std::llround(left * kUnits)));
  return pick::AliasTable::build(weights);
}

std::optional<std::vector<std::uint32_t>> period_of(const std::vector<NthRule>& run, std::size_t& steps) {
  constexpr std::size_t kLongest = 65536;
  std::vector<std::uint32_t> begin;
  for (const NthRule& rule : run) begin.push_back(rule.every - 1 - rule.packet);
  std::vector<std::uint32_t> counters = begin, takers;
  do {
    if (takers.size() == kLongest || steps < run.size()) return std::nullopt;
    std::uint32_t taker = 0;
    for (; taker < run.size(); ++taker) {
      counters[taker] = counters[taker] == run[taker].every - 1 ? 0 : counters[taker] + 1;
      if ((counters[taker] == 0) != run[taker].inverted) break;
    }
    steps -= std::min<std::size_t>(taker + 1, run.size());
    takers.push_back(taker);
  } while (counters != begin);
  return takers;
}

}  // namespace limpet::rules
