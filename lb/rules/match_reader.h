// match_reader.h: one `-m NAME` of a rule, from its options.
//
//   -m recent --rcheck -m comment --comment "…" --seconds 60
//      └ reader ◀── options go to the latest match that has such a one ──┘
//
// What limpet cannot honour is refused here, never ignored: a match without a reader, an option that a reader does not
// take, a combination that iptables or the kernel refuses. Errors go to the Options. One rule at a time; no threads.
#pragma once

#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "lb/rules/rule_options.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

class MatchReader {
 public:
  virtual ~MatchReader() = default;

  /// The option that `options` stands on. False: no option of this match, or given already.
  bool read(Options& options);
  /// All options were read; `rule` has its addresses and its protocol.
  virtual Match finish(Options& options, const Rule& rule) = 0;

 protected:
  virtual bool take(Options& options) = 0;
  bool given(const std::string& option) const { return seen_.contains(option); }

 private:
  std::set<std::string> seen_;
};

/// nullptr: limpet does not know this match.
std::unique_ptr<MatchReader> make_match_reader(std::string_view name, net::Family family);

// Those that make_match_reader() chooses from, by file.
std::unique_ptr<MatchReader> make_packet_match_reader(std::string_view name, net::Family family);  // what packets show
std::unique_ptr<MatchReader> make_state_match_reader(std::string_view name, net::Family family);   // what is remembered

}  // namespace limpet::rules
