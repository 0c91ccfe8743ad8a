// config_fields.h: read one YAML mapping, key by key, and miss nothing.
//
//   Fields fields(node, "services[0]", report);     complains unless it is a mapping; names duplicate keys
//   fields.read("port", format::kPort, out);        reads if present; complains of what the format refuses
//   fields.finish();                                complains of every key that nobody has asked for
//
// Nothing throws and nothing stops: every complaint goes to the Report with its place in the file, so that one run
// shows them all. A key without a value is a complaint: whoever left it empty meant something.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <yaml-cpp/yaml.h>

#include "lb/service/config_values.h"
#include "lb/service/diagnostic.h"

namespace limpet::service {

/// Collects the diagnostics of one file.
class Report {
 public:
  explicit Report(std::string file) : file_(std::move(file)) {}

  const std::string& file() const noexcept { return file_; }
  void error(const YAML::Mark& at, std::string message) { add(at, Severity::error, std::move(message)); }
  void warning(const YAML::Mark& at, std::string message) { add(at, Severity::warning, std::move(message)); }
  /// In the file's order.
  std::vector<Diagnostic> take();

 private:
  void add(const YAML::Mark& at, Severity severity, std::string message);

  std::string file_;
  std::vector<Diagnostic> diagnostics_;
};

/// "line 7", for messages that name a second place.
std::string line_of(const YAML::Mark& at);

class Fields {
 public:
  /// `what` names the mapping in messages: "node", "services[0].endpoints[2]".
  Fields(const YAML::Node& mapping, std::string what, Report& report);

  /// The value of `key` if it is there and not empty; else an undefined node.
  YAML::Node find(std::string_view key);
  bool has(std::string_view key) const { return entry(key) != nullptr; }
  /// Where the key's value stands; the mapping's place if it has none.
  YAML::Mark place(std::string_view key) const;

  /// Was the key present and its value good? `out` is touched only then.
  template <typename Format, typename T>
  bool read(std::string_view key, const Format& format, T& out) {
    return store(parse(find(key), key, format), out);
  }
  template <typename Format, typename T>
  bool read_required(std::string_view key, const Format& format, T& out) {
    if (!has(key)) error(key, what_ + " has no " + std::string(key) + "; write " + format.expected());
    return read(key, format, out);
  }
  /// A list of scalars; bad elements are complained of one by one. True if the key is present and a list.
  template <typename Format>
  bool read_list(std::string_view key, const Format& format, std::vector<typename Format::value_type>& out) {
    const YAML::Node node = find(key);
    if (!node.IsDefined() || !expect_list(node, key)) return false;
    out.clear();
    for (const YAML::Node& element : node) {
      if (auto value = parse(element, key, format)) out.push_back(std::move(*value));
    }
    return true;
  }
  /// `node`, the value of `key`, in `format`; nullopt if it is undefined or will not do.
  template <typename Format>
  std::optional<typename Format::value_type> parse(const YAML::Node& node, std::string_view key, const Format& format) {
    if (!node.IsDefined() || !expect_scalar(node, key, format.expected())) return std::nullopt;
    auto value = format.parse(node.Scalar());
    if (!value) refuse(node, key, format.expected());
    return value;
  }
  bool expect_list(const YAML::Node& node, std::string_view key);
  void section(std::string_view key, const std::function<void(Fields&)>& read);
  void error(std::string_view key, std::string message) { report_.error(place(key), std::move(message)); }
  void warning(std::string_view key, std::string message) { report_.warning(place(key), std::move(message)); }

  const std::string& what() const noexcept { return what_; }
  Report& report() noexcept { return report_; }
  void finish();

 private:
  struct Entry {
    std::string key;
    YAML::Mark at;
    YAML::Node value;
    bool duplicate = false;
  };
  template <typename Value, typename T>
  static bool store(const std::optional<Value>& value, T& out) {
    if (value) out = static_cast<T>(*value);
    return value.has_value();
  }
  void refuse(const YAML::Node& node, std::string_view key, const std::string& expected);
  bool expect_scalar(const YAML::Node& node, std::string_view key, const std::string& expected);
  void add(const YAML::Node& key, const YAML::Node& value);
  const Entry* entry(std::string_view key) const;

  std::string what_;
  Report& report_;
  YAML::Mark at_;
  std::vector<Entry> entries_;
  std::vector<std::string> known_;  // every key that was asked for
};

/// The word of `known` that `word` was probably meant to be; empty if none is near.
std::string nearest(std::string_view word, const std::vector<std::string>& known);

}  // namespace limpet::service
