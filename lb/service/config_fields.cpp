#include "lb/service/config_fields.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace limpet::service {
namespace {

char lower(char c) {
  return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
}

/// Levenshtein distance, case ignored.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (lower(a[i - 1]) == lower(b[j - 1]) ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

std::string_view kind_of(const YAML::Node& node) {
  if (node.IsMap()) return "a mapping";
  if (node.IsSequence()) return "a list";
  return node.IsNull() ? "empty" : "a single value";
}

}  // namespace

std::string to_string(const Diagnostic& diagnostic) {
  std::string place = diagnostic.file;
  if (diagnostic.line > 0) place += ":" + std::to_string(diagnostic.line) + ":" + std::to_string(diagnostic.column);
  return place + (diagnostic.severity == Severity::error ? ": error: " : ": warning: ") + diagnostic.message;
}

std::string nearest(std::string_view word, const std::vector<std::string>& known) {
  std::string best;
  std::size_t best_distance = word.size() / 3 + 1;  // a third of its letters wrong is still a misspelling
  for (const std::string& candidate : known) {
    const std::size_t distance = edit_distance(word, candidate);
    if (distance >= best_distance) continue;
    best_distance = distance;
    best = candidate;
  }
  return best;
}

std::vector<Diagnostic> Report::take() {
  std::stable_sort(diagnostics_.begin(), diagnostics_.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::pair(a.line, a.column) < std::pair(b.line, b.column);
  });
  return std::move(diagnostics_);
}

void Report::add(const YAML::Mark& at, Severity severity, std::string message) {
  const bool known = !at.is_null();  // yaml-cpp counts from 0
  diagnostics_.push_back({file_, known ? at.line + 1 : 0, known ? at.column + 1 : 0, severity, std::move(message)});
}

std::string line_of(const YAML::Mark& at) {
  return "line " + std::to_string(at.line + 1);
}

Fields::Fields(const YAML::Node& mapping, std::string what, Report& report)
    : what_(std::move(what)), report_(report), at_(mapping.Mark()) {
  if (!mapping.IsMap()) {
    report_.error(at_, what_ + " is " + std::string(kind_of(mapping)) + "; write a mapping of keys to values");
    return;
  }
  for (const auto& pair : mapping) add(pair.first, pair.second);
}

void Fields::add(const YAML::Node& key, const YAML::Node& value) {
  if (!key.IsScalar()) {
    report_.error(key.Mark(), "a key in " + what_ + " is " + std::string(kind_of(key)) + "; write a word");
    return;
  }
  const Entry* first = entry(key.Scalar());
  if (first != nullptr) {
    report_.error(key.Mark(), "duplicate key '" + key.Scalar() + "' in " + what_ + ", first on " + line_of(first->at) +
                                  "; keep one of the two");
  }
  entries_.push_back({key.Scalar(), key.Mark(), value, first != nullptr});
}

const Fields::Entry* Fields::entry(std::string_view key) const {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
  return found == entries_.end() ? nullptr : &*found;
}

YAML::Node Fields::find(std::string_view key) {
  if (std::find(known_.begin(), known_.end(), key) == known_.end()) known_.emplace_back(key);
  const Entry* found = entry(key);
  if (found == nullptr) return YAML::Node(YAML::NodeType::Undefined);
  if (!found->value.IsNull()) return found->value;
  report_.error(found->at, found->key + " has no value; give it one or remove the key");
  return YAML::Node(YAML::NodeType::Undefined);
}

YAML::Mark Fields::place(std::string_view key) const {
  const Entry* found = entry(key);
  if (found == nullptr) return at_;
  return found->value.IsNull() ? found->at : found->value.Mark();
}

bool Fields::expect_scalar(const YAML::Node& node, std::string_view key, const std::string& expected) {
  if (node.IsScalar()) return true;
  report_.error(node.Mark(), std::string(key) + " is " + std::string(kind_of(node)) + "; write " + expected);
  return false;
}

bool Fields::expect_list(const YAML::Node& node, std::string_view key) {
  if (node.IsSequence()) return true;
  report_.error(node.Mark(), std::string(key) + " is " + std::string(kind_of(node)) + "; write a list, as in [a, b]");
  return false;
}

void Fields::section(std::string_view key, const std::function<void(Fields&)>& read) {
  const YAML::Node node = find(key);
  if (!node.IsDefined()) return;
  Fields fields(node, std::string(key), report_);
  if (!node.IsMap()) return;
  read(fields);
  fields.finish();
}

void Fields::refuse(const YAML::Node& node, std::string_view key, const std::string& expected) {
  report_.error(node.Mark(), std::string(key) + ": cannot use '" + node.Scalar() + "'; write " + expected);
}

void Fields::finish() {
  for (const Entry& e : entries_) {
    if (e.duplicate || std::find(known_.begin(), known_.end(), e.key) != known_.end()) continue;
    const std::string meant = nearest(e.key, known_);
    std::string known = "known are ";
    for (const std::string& key : known_) known += (known.back() == ' ' ? "" : ", ") + key;
    report_.error(e.at, "unknown key '" + e.key + "' in " + what_ + "; " +
                            (meant.empty() ? known : "did you mean '" + meant + "'?"));
  }
}

}  // namespace limpet::service
