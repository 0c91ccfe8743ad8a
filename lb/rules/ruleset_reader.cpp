#include <algorithm>
#include <cstddef>
#include <utility>

#include "lb/rules/rule_options.h"
#include "lb/rules/rule_text.h"
#include "lb/rules/rule_words.h"
#include "lb/rules/ruleset_text.h"

namespace limpet::rules {
namespace {

std::string_view trimmed(std::string_view line) {
  constexpr std::string_view kSpace = " \t\r";
  const std::size_t first = line.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return line.substr(first, line.find_last_not_of(kSpace) - first + 1);
}

bool is_lower(char c) noexcept {
  return c >= 'a' && c <= 'z';
}
bool is_upper(char c) noexcept {
  return c >= 'A' && c <= 'Z';
}

/// "-A …"
bool is_command(std::string_view line) {
  return line.size() > 2 && line[0] == '-' && is_upper(line[1]) && line[2] == ' ';
}
/// "*nat"
bool is_table(std::string_view line) {
  return line.size() > 1 && line[0] == '*' && std::all_of(line.begin() + 1, line.end(), is_lower);
}
/// ":NAME …"
bool is_chain(std::string_view line) {
  return line.size() > 1 && line[0] == ':' && static_cast<unsigned char>(line[1]) > ' ';
}

/// "[5:300]"
std::optional<Counters> parse_counters(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (!text.starts_with('[') || !text.ends_with(']') || colon == std::string_view::npos) return std::nullopt;
  const auto packets = parse_counter(text.substr(1, colon - 1));
  const auto bytes = parse_counter(text.substr(colon + 1, text.size() - colon - 2));
  return packets && bytes ? std::optional(Counters{*packets, *bytes}) : std::nullopt;
}

/// The family of the first value that is an address, in any rule.
net::Family family_of(std::string_view text) {
  std::size_t from = 0;
  while (from < text.size()) {
    const std::size_t end = std::min(text.find('\n', from), text.size());
    const std::string_view line = trimmed(text.substr(from, end - from));
    from = end + 1;
    if (line.find("-A ") == std::string_view::npos) continue;
    for (const std::string& word : split_words(line).value_or(std::vector<std::string>{})) {
      if (const auto address = MaskedAddress::parse(word)) return address->value().family();
      if (word.starts_with('[') && word.find("::") != std::string::npos) return net::Family::v6;
    }
  }
  return net::Family::v4;
}

class Reader {
 public:
  explicit Reader(const ReadOptions& options) : options_(options), table_(options.bare_rules) {}

  ReadRuleset read(std::string_view text) {
    read_.rules.family = options_.family.value_or(family_of(text));
    std::size_t from = 0;
    while (from < text.size()) {
      const std::size_t end = std::min(text.find('\n', from), text.size());
      ++number_;
      read_line(trimmed(text.substr(from, end - from)));
      from = end + 1;
    }
    return std::move(read_);
  }

 private:
  void fault(std::string message) {
    (options_.lenient ? read_.skipped : read_.errors).push_back({options_.file, number_, std::move(message)});
  }

  void read_line(std::string_view line) {
    std::optional<Counters> counters;
    const std::size_t space = line.find(' ');
    if (line.starts_with('[') && space != std::string_view::npos && is_command(trimmed(line.substr(space)))) {
      counters = parse_counters(line.substr(0, space));
      if (!counters) return fault("'" + std::string(line.substr(0, space)) + "' are no counters ([packets:bytes])");
      line = trimmed(line.substr(space));
    }
    if (is_command(line)) return read_command(line, counters);
    if (is_table(line)) return read_table(line.substr(1));
    if (is_chain(line)) return read_chain(line.substr(1));
    if (line == "COMMIT") {
      table_ = options_.bare_rules;
      known_ = true;
    }
  }

  void read_table(std::string_view name) {
    const auto table = parse_table(name);
    known_ = table.has_value();
    if (!table)
      return fault("'*" + std::string(name) + "': limpet knows the tables raw, mangle, nat and filter, not this one");
    table_ = *table;
    read_.rules.table(table_);
  }

  void read_chain(std::string_view line) {
    const auto words = split_words(line);
    if (!known_) return;
    if (!words || words->size() < 2 || words->size() > 3) return fault("':' needs NAME POLICY [packets:bytes]");
    const auto counters = words->size() == 3 ? parse_counters((*words)[2]) : std::optional(Counters{});
    if (!counters) return fault("'" + (*words)[2] + "' are no counters ([packets:bytes])");
    if (Chain* const chain = declare((*words)[0], (*words)[1])) chain->counters = *counters;
  }

  /// With that policy, "-" for none. nullptr: that was an error.
  Chain* declare(const std::string& name, const std::string& policy) {
    const bool built_in = is_built_in(table_, name);
    if (!is_name(name, kLongestChain)) return fault("'" + name + "' is no name of a chain"), nullptr;
    if (policy != "-" && policy != "ACCEPT" && policy != "DROP") {
      return fault("'" + policy + "' is no policy (ACCEPT, DROP, - for a user's chain)"), nullptr;
    }
    if (built_in != (policy != "-")) {
      return fault(name + (built_in ? " is built in: its policy is ACCEPT or DROP"
                                    : " is not built into " + std::string(to_string(table_)) + ": it has no policy")),
             nullptr;
    }
    if (policy == "DROP" && table_ == Table::nat) {
      return fault("DROP is refused in the table nat; filter in the table filter"), nullptr;
    }
    Chain& chain = read_.rules.table(table_).chain(name);
    if (built_in) chain.policy = policy == "DROP" ? Policy::drop : Policy::accept;
    return &chain;
  }

  void read_command(std::string_view line, const std::optional<Counters>& counters) {
    auto words = split_words(line);
    if (!words) return fault("a quotation mark is not closed");
    if (!known_) return;
    const std::string command = words->front();
    if (command == "-A" && words->size() >= 2) return append(std::move(*words), counters);
    if (command == "-N" && words->size() == 2) return static_cast<void>(declare((*words)[1], "-"));
    if (command == "-P") return read_policy(*words);
    fault(command + ": a dump consists of -P CHAIN POLICY, -N CHAIN and -A CHAIN RULE");
  }

  /// -P CHAIN POLICY [-c PACKETS BYTES]
  void read_policy(const std::vector<std::string>& words) {
    const bool counted = words.size() == 6 && words[3] == "-c";
    const auto packets = counted ? parse_counter(words[4]) : std::optional<std::uint64_t>(0);
    const auto bytes = counted ? parse_counter(words[5]) : std::optional<std::uint64_t>(0);
    if ((words.size() != 3 && !counted) || !packets || !bytes) return fault("-P needs CHAIN POLICY [-c PACKETS BYTES]");
    if (Chain* const chain = declare(words[1], words[2])) chain->counters = {*packets, *bytes};
  }

  void append(std::vector<std::string> words, const std::optional<Counters>& counters) {
    const std::string chain = words[1];
    words.erase(words.begin(), words.begin() + 2);
    if (!is_name(chain, kLongestChain)) return fault("-A: '" + chain + "' is no name of a chain");
    auto rule = read_rule(std::move(words), {read_.rules.family, table_, chain});
    if (!rule) return fault(rule.error().message);
    rule->line = number_;
    if (counters) rule->counters = counters;
    read_.rules.table(table_).chain(chain).rules.push_back(std::move(*rule));
  }

  const ReadOptions& options_;
  Table table_;
  bool known_ = true;  // is table_ the one that we are in?
  std::size_t number_ = 0;
  ReadRuleset read_;
};

}  // namespace

ReadRuleset parse_ruleset(std::string_view text, const ReadOptions& options) {
  return Reader(options).read(text);
}

}  // namespace limpet::rules
