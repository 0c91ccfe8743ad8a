// rules_fuzz.cpp: any text as an iptables program: errors name lines that are there, and what was read is printed in a
// form that is read back as the same.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lb/rules/ruleset_text.h"
#include "tests/fuzz/require.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace limpet::rules;
  using limpet::fuzz::require;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) + 1;
  for (const bool lenient : {false, true}) {
    const ReadRuleset read = parse_ruleset(text, {.lenient = lenient});
    require(!lenient || read.errors.empty(), "lenient: no errors");
    for (const auto& error : lenient ? read.skipped : read.errors) {
      require(error.line >= 1 && error.line <= lines, "an error names its line");
      require(!error.message.empty(), "an error says something");
    }
    // The mask of a `recent` rule that spells none is all ones in both families; what is printed is one family's.
    const std::string printed = print(read.rules);
    const ReadRuleset again = parse_ruleset(printed, {.family = read.rules.family});
    require(again.errors.empty(), "what is printed is read");
    require(print(again.rules) == printed, "and printed the same");
  }
  return 0;
}
