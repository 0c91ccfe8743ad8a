// plan.h: a chain compiled: the same walk, without looking at rules that cannot match.
//
//   chain  ──▶ units   one rule, or a run of rules that differ in one thing only
//                random   -m statistic --mode random, one after the other   one draw from an alias table
//                nth      -m statistic --mode nth, likewise                 one counter, one look into its period
//                recent   -m recent --rcheck|--update, list after list      one probe of a RecentIndex, then the lists
//                                                                           that have the client, in order
//          ──▶ dispatch  units by the destination, protocol and port that they ask for; a probe for each
//                       of the five forms that such a key can have. In chains of many units
//          ──▶ Treatment of each rule, in words: by which of these it is found, or why it is literal
//
// So a walk costs what matches, not what is there, whatever the chains are called. Rules that are passed over could
// neither match nor remember nor count: what is remembered and counted is exact, and shares are rounded to 2^-32. Rules
// of a random or nth run have the same conditions but for the statistic (behind them, one rule without a statistic takes
// whoever is left); of a recent run, the same before the list is asked, and lists of one mask.
//
//   random   rule i is the first to match with probability p_i · (1 - p_0) … (1 - p_(i-1)), in units of 2^-32. If its
//            jump returns, the rest of the run is walked rule by rule, as it is written
//   nth      a run's counters go round together: which rule takes packet k is found by playing one period (at most
//            65536 packets) when the program is linked. Only where no jump of the run returns, and where counters begin
//            anew with every program (NthOnReload::reset). The periods of a table are played for 2^25 steps at most
//
// Packets enter a compiled table by its built-in chains, or by chains that nothing jumps to.
//
// Immutable but for counters; any number of threads.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "lb/affinity/recent_index.h"
#include "lb/pick/alias.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

/// What a rule asks of the destination, where it is exact, before it remembers or counts anything.
struct UnitKey {
  std::optional<net::Address> address;
  std::optional<std::uint8_t> protocol;
  std::optional<std::uint16_t> port;  // only with a protocol
  friend bool operator==(const UnitKey&, const UnitKey&) noexcept = default;
};
/// nullopt: it says nothing exact about the destination.
std::optional<UnitKey> unit_key(const Rule& rule);

class UnitIndex {
 public:
  static constexpr std::uint32_t kNone = ~std::uint32_t{0};

  /// In rising order.
  void add(std::uint32_t unit, const std::optional<UnitKey>& key);
  /// The first unit from `from` on that a packet may match.
  std::uint32_t next(std::uint32_t from, const net::Tuple& packet) const noexcept;

 private:
  using Units = std::vector<std::uint32_t>;
  struct Hash {
    std::size_t operator()(const UnitKey& key) const noexcept;
  };

  Units anywhere_;
  std::unordered_map<UnitKey, Units, Hash> keyed_;
  std::array<bool, 8> kinds_{};  // which parts keys have, as bits: address, protocol, port
};

/// Rules [first, last) of a chain.
struct Unit {
  enum class Kind : std::uint8_t { rule, random, nth, recent };
  struct Period {
    std::vector<std::uint32_t> takers;  // which rule of the run takes packet k; their number: none
    std::atomic<std::uint64_t> packets{0};
  };

  Kind kind = Kind::rule;
  std::uint32_t first = 0;
  std::uint32_t last = 0;
  pick::AliasTable choice;                       // random: of last - first + 1 outcomes
  std::unique_ptr<Period> period;                // nth
  std::unique_ptr<affinity::RecentIndex> index;  // recent: its lists are the rules'
  affinity::RecentMask mask;                     // recent: of the lists
  bool by_destination = false;                   // recent
};

struct Plan {
  std::vector<Unit> units;
  std::vector<std::uint32_t> unit_of;  // by step
  bool keyed = false;                  // else every unit is looked at
  UnitIndex dispatch;
};

/// What the compiler made of a rule.
struct Treatment {
  enum class How : std::uint8_t { literal, keyed, random, nth, recent };

  How how = How::literal;
  std::uint32_t run = 1;   // how many rules are one with it
  std::string_view why{};  // literal: why it is looked at as it stands
};

std::string_view to_string(Treatment::How how) noexcept;

/// The outcomes' shares of a run: rule 0, 1, …, and none of them.
pick::AliasTable choice_of(const std::vector<RandomMatch>& run);
/// Which of the run's rules takes packet 0, 1, …, until that repeats. nullopt: it takes more than 65536 packets, or more
/// than `steps` (counters looked at), of which those taken are subtracted.
std::optional<std::vector<std::uint32_t>> period_of(const std::vector<NthRule>& run, std::size_t& steps);

}  // namespace limpet::rules
