// rules_bench.h: a program of a few lines, and packets that walk it.
#pragma once

#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "lb/rules/chains.h"
#include "lb/rules/ruleset_text.h"

namespace limpet::rules::test {

inline net::AddressPort end(const std::string& text) {
  return *net::AddressPort::parse(text);
}
inline net::Tuple tcp(const std::string& from, const std::string& to) {
  return {net::Protocol::tcp, end(from), end(to)};
}
inline net::Tuple udp(const std::string& from, const std::string& to) {
  return {net::Protocol::udp, end(from), end(to)};
}

inline Ruleset parsed(const std::string& text, const ReadOptions& options = {}) {
  ReadRuleset read = parse_ruleset(text, options);
  for (const auto& error : read.errors) ADD_FAILURE() << store::to_string(error);
  return std::move(read.rules);
}

struct Bench {
  RuleMemory memory{affinity::RecentOptions{}, NthOnReload::reset};
  pick::Rng rng{1};
  LinkedRuleset program;
  Facts facts{.tuple = udp("10.0.0.1:1000", "10.0.0.2:53"), .ttl = 64};
  std::uint64_t jiffies = 100'000;

  /// Bare rules belong to raw.
  explicit Bench(const std::string& text, const LinkOptions& options = {}) {
    program = link(parsed(text, {.bare_rules = Table::raw}), memory, options);
  }

  Walk walk(const std::string& chain, Table table = Table::raw) {
    hits.clear();
    const auto walk = program.find(table)->walk(chain, facts, {.jiffies = jiffies, .rng = rng}, &hits);
    if (!walk) ADD_FAILURE() << "no chain " << chain;
    return walk.value_or(Walk{});
  }
  /// "OUTPUT:1 X:2"
  std::string path(const std::string& chain) {
    walk(chain);
    std::string text;
    for (const Hit& hit : hits) {
      text += std::string(text.empty() ? "" : " ") + *hit.chain + ":" + std::to_string(hit.number);
    }
    return text;
  }

  std::vector<Hit> hits;
};

}  // namespace limpet::rules::test
