// rule_events.h: what happens to a program, and what limpet says would come of it.
//
// A Model is limpet's side: the same texts through the real parser and the real walk, rule by rule and compiled; the two
// must agree. It can be had again as it was after any event: from the events so far, each with the tick that explained
// it.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "lb/affinity/recent_text.h"
#include "lb/rules/chains.h"
#include "lb/rules/ruleset_text.h"

namespace limpet::rules::differential {

struct Programs {
  std::string v4;
  std::string v6;
  const std::string& of(net::Family family) const { return family == net::Family::v4 ? v4 : v6; }
};

struct Event {
  enum class Kind { packet, write, reload };
  Kind kind = Kind::packet;
  net::Tuple packet;
  std::uint8_t ttl = 64;
  std::string list, text;  // write
  Programs programs;       // reload

  std::string words() const {
    if (kind == Kind::write) return "write " + text + " to " + list;
    if (kind == Kind::reload) return "reload";
    return packet.to_string() + " ttl " + std::to_string(ttl);
  }
};

/// "v4 c1:2" → how often it matched.
using Counts = std::map<std::string, std::uint64_t>;
/// The lines of each list, sorted; a list that is not there has none.
using Dumps = std::map<std::string, std::vector<std::string>>;

inline std::string key_of(net::Family family, const std::string& chain, std::size_t number) {
  return std::string(family == net::Family::v4 ? "v4 " : "v6 ") + chain + ":" + std::to_string(number);
}
/// Of a dump with counters.
inline Counts counts_of(const Ruleset& rules) {
  Counts counts;
  for (const TableRules& table : rules.tables) {
    for (const Chain& chain : table.chains) {
      for (std::size_t i = 0; i < chain.rules.size(); ++i) {
        const auto packets = chain.rules[i].counters.value_or(Counters{}).packets;
        if (packets != 0) counts[key_of(rules.family, chain.name, i + 1)] = packets;
      }
    }
  }
  return counts;
}

inline const std::vector<std::string> kLists{"L0", "L1", "L2"};

class Model {
 public:
  Model(const Programs& programs, const node::NodeView& node, std::uint32_t per_second)
      : node_(node), literal_(per_second, false), compiled_(per_second, true) {
    load(programs);
  }

  /// The rules that matched.
  Counts apply(const Event& event, std::uint64_t jiffies) {
    if (event.kind == Event::Kind::reload) return load(event.programs), Counts{};
    if (event.kind == Event::Kind::packet) {
      Counts counts = walk(literal_, event, jiffies);
      EXPECT_EQ(walk(compiled_, event, jiffies), counts) << "compiled: " << event.words();
      return counts;
    }
    for (Side* const side : {&literal_, &compiled_}) {
      const auto list = side->memory.lists.find(event.list);
      EXPECT_TRUE(!list || affinity::write(*list, event.text, jiffies));
    }
    return {};
  }
  /// What nth matches have counted, which no list shows.
  std::vector<std::uint32_t> counted() {
    std::vector<std::uint32_t> all;
    for (LinkedRuleset* const program : {&literal_.v4, &literal_.v6}) {
      for (const std::uint32_t count : program->find(Table::raw)->counted()) all.push_back(count);
    }
    return all;
  }
  Dumps dumps() const {
    Dumps all = dumps(literal_);
    EXPECT_EQ(dumps(compiled_), all) << "compiled";
    return all;
  }

 private:
  struct Side {
    Side(std::uint32_t per_second, bool is_compiled)
        : compiled(is_compiled), memory({.per_second = per_second}, NthOnReload::reset) {}
    bool compiled;
    RuleMemory memory;
    LinkedRuleset v4, v6;
    pick::Rng rng{1};
  };

  static Dumps dumps(const Side& side) {
    Dumps all;
    for (const std::string& name : kLists) {
      std::vector<std::string>& lines = all[name];
      const auto list = side.memory.lists.find(name);
      if (!list) continue;
      for (const auto& record : list->records()) lines.push_back(affinity::to_line(record));
      std::sort(lines.begin(), lines.end());
    }
    return all;
  }
  /// One family after the other, as the test loads them.
  void load(const Programs& programs) {
    for (const net::Family family : {net::Family::v4, net::Family::v6}) {
      const ReadRuleset read = parse_ruleset(programs.of(family), {.family = family});
      for (const auto& error : read.errors) ADD_FAILURE() << store::to_string(error);
      for (Side* const side : {&literal_, &compiled_}) {
        LinkedRuleset linked = link(read.rules, side->memory, {.compiled = side->compiled});
        for (const auto& error : linked.errors) ADD_FAILURE() << store::to_string(error);
        (family == net::Family::v4 ? side->v4 : side->v6) = std::move(linked);
      }
    }
  }
  Counts walk(Side& side, const Event& event, std::uint64_t jiffies) {
    const net::Family family = event.packet.source.address.family();
    Facts facts{.tuple = event.packet,
                .out_interface = "lo",
                .mark = 0,
                .ttl = event.ttl,
                .states = kInvalid,  // raw comes before connection tracking
                .node = &node_};
    std::vector<Hit> hits;
    LinkedRuleset& program = family == net::Family::v4 ? side.v4 : side.v6;
    program.find(Table::raw)->walk("OUTPUT", facts, {jiffies, side.rng}, &hits);
    Counts counts;
    for (const Hit& hit : hits) ++counts[key_of(family, *hit.chain, hit.number)];
    return counts;
  }

  const node::NodeView& node_;
  Side literal_, compiled_;
};

}  // namespace limpet::rules::differential
