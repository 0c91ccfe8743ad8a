#include "lb/rules/dispatch.h"

#include <utility>

#include "lb/rules/demands.h"

namespace limpet::rules {

std::optional<DispatchKey> dispatch_key(const Rule& rule) {
  const Dissected parts = dissect(rule);
  const auto protocol = protocol_of(parts.demands);
  const auto port = destination_port_of(parts.demands);
  if (!parts.demands_first || !protocol || !port) return std::nullopt;
  return DispatchKey{destination_of(parts.demands), *protocol, *port};
}

std::vector<Dispatch> find_dispatches(const TableRules& nat) {
  std::vector<Dispatch> runs;
  for (std::uint32_t chain = 0; chain < nat.chains.size(); ++chain) {
    Dispatch run;
    const auto close = [&] {
      if (run.keys.size() > 1) runs.push_back(std::move(run));
      run = {};
    };
    const std::vector<Rule>& rules = nat.chains[chain].rules;
    for (std::uint32_t i = 0; i < rules.size(); ++i) {
      const auto key = dispatch_key(rules[i]);
      if (!key || run.keys.empty() || run.by_address != key->address.has_value()) close();
      if (!key) continue;
      if (run.keys.empty()) run = {chain, i, i, key->address.has_value(), {}};
      run.keys.push_back(*key);
      run.end = i + 1;
    }
    close();
  }
  return runs;
}

}  // namespace limpet::rules
