// program_file.h: from the files of an iptables program to one that can be walked.
//
//   FILE    what iptables-save or `iptables -S` printed ─▶ parse ─▶ complete (a partial dump of kube-proxy's) ─▶ link
//   ipsets  what `ipset save` printed ────────────────────────────────────────────────────────────────────────┘
//
// Errors are of kind configuration and name every faulty line, "file:line: what", one below the other: what cannot be
// read, what cannot be honoured (lenient: left out, and told), what the kernel would not load.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "conntrack/store/line_error.h"
#include "conntrack/store/result.h"
#include "lb/rules/chains.h"
#include "lb/rules/completion.h"

namespace limpet::rules {

struct ProgramSource {
  std::string file;
  std::string ipsets{};  // empty: there are no sets
  bool lenient = false;
  bool compiled = false;
};

struct LoadedProgram {
  LinkedRuleset linked;                   // without errors
  std::vector<AddedRule> added;           // what the text lacked
  std::vector<store::LineError> skipped;  // lenient: what was left out
};

/// `memory` outlives what is loaded.
store::Result<LoadedProgram> load_program(const ProgramSource& source, RuleMemory& memory);
/// Of the text itself; `source.file` is what errors call it.
store::Result<LoadedProgram> parse_program(std::string_view text, const ProgramSource& source, RuleMemory& memory);

/// Rules of all tables, those that were added included.
std::size_t count_rules(const Ruleset& rules) noexcept;

/// One message: each error, one below the other.
store::Error all_of(const std::vector<store::LineError>& errors);

}  // namespace limpet::rules
