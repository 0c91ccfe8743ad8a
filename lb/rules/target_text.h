// target_text.h: the target of a rule, from its options and back.
//
//   -j DNAT --to-destination 10.0.0.1-10.0.0.9:8000-8010/80 --persistent
//                            └ addresses       └ ports   └ the port that becomes the first of them
//
// A word after -j that is no target's name is a chain; whether there is such a chain is for chains.h. What limpet cannot
// honour is refused, as in match_reader.h. Pure; any thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "lb/rules/rule_options.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

class TargetReader {
 public:
  virtual ~TargetReader() = default;
  /// The option that `options` stands on. False: no option of this target.
  virtual bool read(Options& options) = 0;
  virtual Target finish(Options& options) = 0;
};

std::unique_ptr<TargetReader> make_target_reader(const std::string& name, net::Family family);

/// "-j DNAT --to-destination …"; "" for no target.
std::string print(const Target& target);

}  // namespace limpet::rules
