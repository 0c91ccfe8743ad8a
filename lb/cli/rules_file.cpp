#include "lb/cli/rules_file.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <istream>
#include <ostream>
#include <sstream>
#include <utility>

#include "lb/rules/chains.h"
#include "lb/rules/ip_sets.h"
#include "lb/rules/program.h"
#include "lb/rules/ruleset_text.h"

namespace limpet::cli {
namespace {

std::string name_of(const std::string& path) {
  return path == "-" ? "standard input" : path;
}

std::optional<std::string> read_all(const std::string& path, std::istream& in, std::ostream& err) {
  errno = 0;
  std::ifstream file;
  if (path != "-") file.open(path, std::ios::binary);
  std::ostringstream text;
  if (path == "-" || file.is_open()) {
    text << (path == "-" ? in : file).rdbuf();
    if (text || errno == 0) return text.str();  // nothing at all fails, too
  }
  err << path << ": cannot be read: " << std::strerror(errno)
      << "; name a readable file, or - for the standard input\n";
  return std::nullopt;
}

void print(const std::vector<store::LineError>& errors, const char* what, std::ostream& err) {
  for (const store::LineError& error : errors) err << store::to_string(error) << what << '\n';
}

bool has_rules(const rules::Ruleset& ruleset) {
  return std::any_of(ruleset.tables.begin(), ruleset.tables.end(), [](const rules::TableRules& table) {
    return std::any_of(table.chains.begin(), table.chains.end(),
                       [](const rules::Chain& chain) { return !chain.rules.empty(); });
  });
}

void leave_out(rules::Ruleset& ruleset, const std::vector<store::LineError>& skipped) {
  for (rules::TableRules& table : ruleset.tables) {
    for (rules::Chain& chain : table.chains) {
      std::erase_if(chain.rules, [&](const rules::Rule& rule) {
        return rule.line != 0 &&
               std::any_of(skipped.begin(), skipped.end(), [&](const auto& error) { return error.line == rule.line; });
      });
    }
  }
}

/// What only the whole program shows. False: it is faulty.
bool check_links(LoadedRules& loaded, const rules::IpSets& sets, const RulesFileOptions& options, std::ostream& err) {
  rules::RuleMemory memory(affinity::RecentOptions{}, rules::NthOnReload::reset);
  const rules::LinkedRuleset linked =
      rules::link(loaded.rules, memory, {name_of(options.file), &sets, options.lenient, true});
  print(linked.errors, "", err);
  for (const auto& chains : linked.tables) {
    if (!chains) continue;
    for (const rules::TreatedRule& one : chains->treated()) {
      const rules::Hit hit{one.table, one.chain, one.number, one.rule};
      loaded.compiled.push_back({one.rule->line, to_string(hit, loaded.rules.family), one.treatment});
    }
  }
  leave_out(loaded.rules, linked.skipped);
  loaded.skipped.insert(loaded.skipped.end(), linked.skipped.begin(), linked.skipped.end());
  return linked.errors.empty();
}

}  // namespace

std::optional<LoadedRules> load_rules(const RulesFileOptions& options, std::istream& in, std::ostream& err) {
  rules::IpSets sets;
  if (!options.ipset.empty()) {
    const auto text = read_all(options.ipset, in, err);
    if (!text) return std::nullopt;
    sets = rules::parse_ip_sets(*text, name_of(options.ipset));
    print(sets.errors, "", err);
    if (!sets.errors.empty()) return std::nullopt;
  }
  const auto text = read_all(options.file, in, err);
  if (!text) return std::nullopt;
  rules::ReadOptions reading;
  reading.file = name_of(options.file);
  reading.bare_rules = rules::parse_table(options.table).value_or(rules::Table::nat);
  reading.lenient = options.lenient;
  rules::ReadRuleset read = rules::parse_ruleset(*text, reading);
  print(read.errors, "", err);
  if (!read.errors.empty()) return std::nullopt;
  LoadedRules loaded{std::move(read.rules), {}, std::move(read.skipped)};
  if (!has_rules(loaded.rules)) {
    print(loaded.skipped, "; left out", err);
    err << reading.file << ": holds no iptables rules; give the output of iptables-save or iptables -S\n";
    return std::nullopt;
  }
  loaded.added = rules::complete(loaded.rules);
  const bool good = check_links(loaded, sets, options, err);
  print(loaded.skipped, "; left out", err);
  return good ? std::optional(std::move(loaded)) : std::nullopt;
}

void add_rules_file(CLI::App& subcommand, RulesFileOptions& options) {
  subcommand.add_option("FILE", options.file, "iptables-save or iptables -S output, also in Markdown; - reads stdin")
      ->required();
  subcommand.add_option("--table", options.table, "Of rules that stand in no table")
      ->check(CLI::IsMember({"raw", "mangle", "nat", "filter"}))
      ->capture_default_str();
  subcommand.add_option("--ipset", options.ipset, "Output of `ipset save`, for rules that look into sets");
  subcommand.add_flag("--lenient", options.lenient, "Report and leave out what cannot be honoured");
}

}  // namespace limpet::cli
