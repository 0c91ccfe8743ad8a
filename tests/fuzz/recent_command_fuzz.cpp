// recent_command_fuzz.cpp: any text written to a `recent` list: what is taken changes the list as it says, and the line
// that the list then shows is one that limpet reads; what is refused changes nothing.
#include <cstddef>
#include <cstdint>
#include <string>

#include "lb/affinity/recent_text.h"
#include "lb/rules/recent_file.h"
#include "tests/fuzz/require.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace limpet;
  using limpet::fuzz::require;
  using Verb = affinity::RecentCommand::Verb;
  const std::string text(reinterpret_cast<const char*>(data), size);
  affinity::RecentTable table({}, {});
  table.add(net::Address::from_v4(0x0a000001), 7);
  const auto before = table.records();
  const auto command = affinity::parse_recent_command(text);
  require(static_cast<bool>(affinity::write(table, text, 9)) == command.has_value(), "taken if it is a command");
  if (!command) {
    require(table.records() == before, "what is refused changes nothing");
    return 0;
  }
  const auto after = table.records();
  if (command->verb == Verb::flush) require(after.empty(), "flushed");
  if (command->verb != Verb::add) return 0;
  require(after.back().address == command->address && after.back().last_seen == 9, "added last");
  const auto list = rules::parse_recent("L", affinity::to_text(table), "L");
  require(list.errors.empty() && list.entries.size() == after.size(), "what is shown can be read");
  require(list.entries.back().source == command->address, "as the same address");
  return 0;
}
