#include "lb/rules/program_file.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <utility>

#include "lb/rules/ruleset_text.h"

namespace limpet::rules {
namespace {

store::Error fault(const std::string& message) {
  return {store::ErrorKind::configuration, message};
}

store::Result<std::string> read_all(const std::string& path, const std::string& what) {
  errno = 0;
  const std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file.is_open()) {
    text << file.rdbuf();
    if (text || errno == 0) return text.str();  // nothing at all fails, too
  }
  return fault(path + " cannot be read: " + std::strerror(errno) + "; name what " + what + " printed");
}

store::Result<std::shared_ptr<const IpSets>> read_sets(const std::string& path) {
  if (path.empty()) return std::shared_ptr<const IpSets>();
  const auto text = read_all(path, "ipset save");
  if (!text) return text.error();
  auto sets = std::make_shared<const IpSets>(parse_ip_sets(*text, path));
  if (!sets->errors.empty()) return all_of(sets->errors);
  return std::shared_ptr<const IpSets>(std::move(sets));
}

}  // namespace

store::Error all_of(const std::vector<store::LineError>& errors) {
  std::string message;
  for (const store::LineError& error : errors) message += (message.empty() ? "" : "\n") + store::to_string(error);
  return fault(message);
}

std::size_t count_rules(const Ruleset& rules) noexcept {
  std::size_t count = 0;
  for (const TableRules& table : rules.tables) {
    for (const Chain& chain : table.chains) count += chain.rules.size();
  }
  return count;
}

store::Result<LoadedProgram> parse_program(std::string_view text, const ProgramSource& source, RuleMemory& memory) {
  const auto sets = read_sets(source.ipsets);
  if (!sets) return sets.error();
  ReadRuleset read = parse_ruleset(text, {.file = source.file, .lenient = source.lenient});
  if (!read.errors.empty()) return all_of(read.errors);
  if (count_rules(read.rules) == 0) {
    return fault(source.file + " holds no iptables rules; give the output of iptables-save or iptables -S");
  }
  LoadedProgram loaded;
  loaded.skipped = std::move(read.skipped);
  loaded.added = complete(read.rules);
  const LinkOptions options{
      .file = source.file, .sets = sets->get(), .lenient = source.lenient, .compiled = source.compiled};
  loaded.linked = link(std::move(read.rules), memory, options);
  if (!loaded.linked.errors.empty()) return all_of(loaded.linked.errors);
  loaded.linked.sets = *sets;
  const auto& unlinked = loaded.linked.skipped;
  loaded.skipped.insert(loaded.skipped.end(), unlinked.begin(), unlinked.end());
  return loaded;
}

store::Result<LoadedProgram> load_program(const ProgramSource& source, RuleMemory& memory) {
  const auto text = read_all(source.file, "iptables-save");
  if (!text) return text.error();
  return parse_program(*text, source, memory);
}

}  // namespace limpet::rules
