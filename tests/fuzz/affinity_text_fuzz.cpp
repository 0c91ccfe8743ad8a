// affinity_text_fuzz.cpp: any text as a file for `limpet affinity load`: what is read from it, written again, is read the same.
#include <cstddef>
#include <cstdint>
#include <sstream>
#include <string>

#include "lb/affinity/affinity_text.h"
#include "tests/fuzz/require.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace limpet::affinity;
  using limpet::fuzz::require;
  std::istringstream in(std::string(data, data + size));
  const ParsedText parsed = parse_text(in, "file");
  require(parsed.errors.empty() == (parsed.error_count == 0), "every error is counted");
  require(parsed.errors.size() <= ParsedText::kMostErrors, "errors are bounded");
  std::stringstream again;
  write_header(again, parsed.written);
  for (const NamedEntry& entry : parsed.entries) write_entry(again, entry);
  write_end(again, parsed.entries.size());
  const ParsedText same = parse_text(again, "again");
  require(same.errors.empty(), "what is written can be read");
  require(same.written == parsed.written, "the same time");
  require(same.entries == parsed.entries, "the same entries");
  return 0;
}
