#include "lb/rules/ruleset.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

namespace limpet::rules {
namespace {

constexpr std::array<std::string_view, 4> kTables{"raw", "mangle", "nat", "filter"};

std::span<const std::string_view> built_in_chains(Table table) noexcept {
  static constexpr std::array<std::string_view, 2> kRaw{"PREROUTING", "OUTPUT"};
  static constexpr std::array<std::string_view, 5> kMangle{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"};
  static constexpr std::array<std::string_view, 4> kNat{"PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"};
  static constexpr std::array<std::string_view, 3> kFilter{"INPUT", "FORWARD", "OUTPUT"};
  switch (table) {
    case Table::raw:
      return kRaw;
    case Table::mangle:
      return kMangle;
    case Table::nat:
      return kNat;
    case Table::filter:
      return kFilter;
  }
  return {};
}

}  // namespace

std::string_view to_string(Table table) noexcept {
  return kTables[static_cast<std::size_t>(table)];
}

std::optional<Table> parse_table(std::string_view name) noexcept {
  const auto* const found = std::find(kTables.begin(), kTables.end(), name);
  return found == kTables.end() ? std::nullopt : std::optional(static_cast<Table>(found - kTables.begin()));
}

bool is_built_in(Table table, std::string_view chain) noexcept {
  const auto chains = built_in_chains(table);
  return std::find(chains.begin(), chains.end(), chain) != chains.end();
}

const Chain* TableRules::find(std::string_view name) const noexcept {
  const auto found = std::find_if(chains.begin(), chains.end(), [&](const Chain& chain) { return chain.name == name; });
  return found == chains.end() ? nullptr : &*found;
}

Chain& TableRules::chain(std::string_view name) {
  if (const Chain* const found = find(name)) return chains[static_cast<std::size_t>(found - chains.data())];
  Chain& made = chains.emplace_back();
  made.name = name;
  if (is_built_in(table, name)) made.policy = Policy::accept;
  return made;
}

const TableRules* Ruleset::find(Table table) const noexcept {
  const auto found =
      std::find_if(tables.begin(), tables.end(), [&](const TableRules& rules) { return rules.table == table; });
  return found == tables.end() ? nullptr : &*found;
}

TableRules& Ruleset::table(Table table) {
  if (const TableRules* const found = find(table)) return tables[static_cast<std::size_t>(found - tables.data())];
  return tables.emplace_back(TableRules{.table = table, .chains = {}});
}

}  // namespace limpet::rules
