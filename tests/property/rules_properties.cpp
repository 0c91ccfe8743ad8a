// Of any iptables program: what is printed says the same.
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "lb/rules/ruleset_text.h"
#include "tests/property/rules_generators.h"

namespace limpet::rules::properties {

RC_GTEST_PROP(RulesProperties, ParseOfPrintIsTheProgram, ()) {
  const Ruleset program = any_ruleset();
  const std::string text = print(program);
  const ReadRuleset read = parse_ruleset(text, {.family = program.family});
  RC_LOG() << text;
  RC_ASSERT(read.errors.empty());
  RC_ASSERT(read.rules == program);
}

}  // namespace limpet::rules::properties
