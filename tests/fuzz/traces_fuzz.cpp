// traces_fuzz.cpp: any text as the output of iptables-save; what is found there, and the transaction that removes it.
//
// Clean-up runs as root on rules that others wrote: no line of the transaction may name a chain that is not limpet's,
// nor carry a second line.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "lb/divert/rules.h"
#include "tests/fuzz/require.h"

namespace {

using namespace limpet;
using fuzz::require;

constexpr std::string_view kOurs = "LIMPET-";

bool one_line(std::string_view text) {
  return text.find('\n') == std::string_view::npos;
}

void check_removal(divert::Table table, const divert::Traces& traces) {
  const std::string text = divert::render_removal(table, traces);
  require(text.starts_with("*") && text.ends_with("COMMIT\n"), "one transaction");
  const auto lines = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  // The table's name, a line for each jump, two for each chain, COMMIT.
  require(lines == 2 + traces.jumps.size() + 2 * traces.chains.size(), "a line for each trace, and no other");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(data, data + size);
  const divert::Traces traces = divert::find_traces(text);
  for (const std::string& chain : traces.chains) {
    require(chain.starts_with(kOurs) && one_line(chain), "only limpet's chains");
    require(text.find(":" + chain) != std::string::npos, "a chain that stands there");
  }
  for (const std::string& jump : traces.jumps) {
    require(jump.starts_with("-A ") && one_line(jump), "a jump is one rule");
    require(jump.find(kOurs) != std::string::npos, "only jumps to limpet's chains");
    require(text.find(jump) != std::string::npos, "a rule that stands there");
  }
  check_removal(divert::Table::raw, traces);
  check_removal(divert::Table::mangle, traces);
  return 0;
}
