// recent_fuzz.cpp: any text as a list of xt_recent's: each line is an entry or an error, and no address comes from nowhere.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "lb/rules/recent_file.h"
#include "tests/fuzz/require.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace limpet::rules;
  using limpet::fuzz::require;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const RecentList list = parse_recent("L", text, "L");
  const auto ends = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
  const std::size_t lines = ends + (text.empty() || text.ends_with('\n') ? 0 : 1);
  require(list.entries.size() + list.errors.size() == lines, "each line is an entry or an error");
  for (const RecentEntry& entry : list.entries) require(entry.stamps > 0, "an entry has a stamp");
  for (const auto& error : list.errors) require(error.line >= 1 && error.line <= lines, "an error names its line");
  return 0;
}
