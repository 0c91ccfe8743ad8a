#include "lb/service/kubernetes_text.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/parser.h>
#include <yaml-cpp/yaml.h>

namespace limpet::service {
namespace {

using nlohmann::json;
using Pointer = json::json_pointer;

/// Where a reader stands in a document: the keys and indices from its root.
class Path {
 public:
  void enter(bool list) { levels_.push_back({list, 0, {}}); }
  void leave() {
    levels_.pop_back();
    end_value();
  }
  void key(std::string name) { levels_.back().key = std::move(name); }
  bool in_map() const { return !levels_.empty() && !levels_.back().list; }
  /// A value of a list is complete.
  void end_value() {
    if (!levels_.empty() && levels_.back().list) ++levels_.back().index;
  }
  /// Of the value that comes next.
  Pointer pointer() const {
    Pointer result;
    for (const Level& level : levels_) {
      if (level.list) {
        result.push_back(std::to_string(level.index));
      } else {
        result.push_back(level.key);
      }
    }
    return result;
  }

 private:
  struct Level {
    bool list;
    std::size_t index;
    std::string key;
  };
  std::vector<Level> levels_;
};

// ---------------------------------------------------------------------------------------------------------------- JSON

int line_at(const std::string& text, std::size_t offset) {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(offset, text.size()));
  return 1 + static_cast<int>(std::count(text.begin(), end, '\n'));
}

/// Notes where the value at a pointer ends.
class JsonLocator final : public nlohmann::json_sax<json> {
 public:
  JsonLocator(std::istringstream& in, const Pointer& wanted) : in_(in), wanted_(wanted) {}
  std::streamoff found() const noexcept { return found_; }

  bool null() override { return value(); }
  bool boolean(bool /*value*/) override { return value(); }
  bool number_integer(number_integer_t /*value*/) override { return value(); }
  bool number_unsigned(number_unsigned_t /*value*/) override { return value(); }
  bool number_float(number_float_t /*value*/, const string_t& /*text*/) override { return value(); }
  bool string(string_t& /*value*/) override { return value(); }
  bool binary(binary_t& /*value*/) override { return value(); }
  bool start_object(std::size_t /*size*/) override { return enter(false); }
  bool start_array(std::size_t /*size*/) override { return enter(true); }
  bool key(string_t& name) override {
    path_.key(name);
    return true;
  }
  bool end_object() override { return leave(); }
  bool end_array() override { return leave(); }
  bool parse_error(std::size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  void note() {
    if (found_ < 0 && path_.pointer() == wanted_) found_ = in_.tellg();
  }
  bool value() {
    note();
    path_.end_value();
    return true;
  }
  bool enter(bool list) {
    note();
    path_.enter(list);
    return true;
  }
  bool leave() {
    path_.leave();
    return true;
  }

  std::istringstream& in_;
  const Pointer& wanted_;
  Path path_;
  std::streamoff found_ = -1;
};

bool at_end(std::istringstream& in) {
  in >> std::ws;
  return in.peek() == std::istringstream::traits_type::eof();
}

ParsedText parse_json(const std::string& text, const std::string& file) {
  ParsedText result;
  std::istringstream in(text);
  while (!at_end(in)) {
    const auto begin = static_cast<std::size_t>(in.tellg());
    json document;
    try {
      in >> document;
    } catch (const json::parse_error& error) {
      const std::string what = error.what();
      const std::size_t cause =
          what.find(": ");  // "[json.exception.parse_error.101] parse error at line 1, column 2: …"
      const std::size_t offset = begin + (error.byte == 0 ? 0 : error.byte - 1);
      const std::size_t line_start =
          offset == 0 ? std::string::npos : text.rfind('\n', std::min(offset, text.size()) - 1);
      const std::size_t column = line_start == std::string::npos ? offset + 1 : offset - line_start;
      result.fault = Diagnostic{file, line_at(text, offset), static_cast<int>(column), Severity::error,
                                "not JSON: " + (cause == std::string::npos ? what : what.substr(cause + 2)) +
                                    "; write what kubectl prints with -o json"};
      return result;
    }
    result.documents.push_back(std::move(document));
  }
  return result;
}

int json_line_of(const std::string& text, std::size_t document, const Pointer& pointer) {
  std::istringstream in(text);
  for (std::size_t number = 0; !at_end(in); ++number) {
    JsonLocator locator(in, pointer);
    if (!json::sax_parse(in, &locator, json::input_format_t::json, false)) return 0;
    if (number == document) {
      return locator.found() < 0 ? 0 : line_at(text, static_cast<std::size_t>(locator.found()) - 1);
    }
  }
  return 0;
}

// ---------------------------------------------------------------------------------------------------------------- YAML

/// A plain scalar by YAML's core schema (YAML 1.2 section 10.3.2), numbers in decimal alone.
json plain(const std::string& text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  if (text == "true" || text == "True" || text == "TRUE") return true;
  if (text == "false" || text == "False" || text == "FALSE") return false;
  if (text.find_first_of("0123456789") == std::string::npos) return text;  // from_chars would read "inf" and "nan"
  std::int64_t number = 0;
  const char* const begin = text.data() + (text[0] == '+' ? 1 : 0);
  const char* const end = text.data() + text.size();
  if (const auto read = std::from_chars(begin, end, number); read.ec == std::errc() && read.ptr == end) return number;
  double real = 0;
  if (const auto read = std::from_chars(begin, end, real); read.ec == std::errc() && read.ptr == end) return real;
  return text;
}

/// Makes JSON of a document's events; notes where the value at `wanted` begins.
class YamlEvents final : public YAML::EventHandler {
 public:
  explicit YamlEvents(const Pointer* wanted = nullptr) : wanted_(wanted) {}

  json take() { return std::move(root_); }
  int found() const noexcept { return found_; }
  const YAML::Mark& first() const noexcept { return first_; }

  void OnDocumentStart(const YAML::Mark& at) override { first_ = at; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& at, YAML::anchor_t /*anchor*/) override { add(at, nullptr); }
  /// kubectl writes none, and a few of them can stand for any number of values.
  void OnAlias(const YAML::Mark& at, YAML::anchor_t /*anchor*/) override {
    throw YAML::ParserException(at, "an alias; write the value itself");
  }
  void OnScalar(const YAML::Mark& at, const std::string& tag, YAML::anchor_t, const std::string& text) override {
    if (expects_key()) {
      key_ = text;
      path_.key(text);
      has_key_.back() = true;
    } else {
      add(at, tag == "?" ? plain(text) : json(text));
    }
  }
  void OnSequenceStart(const YAML::Mark& at, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    open(at, json::array(), true);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& at, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    open(at, json::object(), false);
  }
  void OnMapEnd() override { close(); }

 private:
  bool expects_key() const { return path_.in_map() && !has_key_.back(); }
  void note(const YAML::Mark& at) {
    if (wanted_ != nullptr && found_ == 0 && path_.pointer() == *wanted_) found_ = at.line + 1;
  }
  json& place(json value) {
    if (open_.empty()) return root_ = std::move(value);
    json& parent = *open_.back();
    if (parent.is_array()) return parent.emplace_back(std::move(value));
    has_key_.back() = false;
    return parent[key_] = std::move(value);
  }
  void add(const YAML::Mark& at, json value) {
    if (expects_key()) return;  // `? ` and its like: no Kubernetes object has a key that is not a word
    note(at);
    place(std::move(value));
    path_.end_value();
  }
  void open(const YAML::Mark& at, json value, bool list) {
    note(at);
    open_.push_back(&place(std::move(value)));
    has_key_.push_back(false);
    path_.enter(list);
  }
  void close() {
    open_.pop_back();
    has_key_.pop_back();
    path_.leave();
  }

  const Pointer* wanted_;
  int found_ = 0;
  YAML::Mark first_;
  json root_;
  std::vector<json*> open_;  // parents stay where they are: only the last one grows
  std::vector<char> has_key_;
  std::string key_;
  Path path_;
};

/// Calls `each` with the events of every document; false ends it.
template <typename Each>
void for_each_yaml(const std::string& text, const Pointer* wanted, const Each& each) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  int last = -1;
  while (true) {
    YamlEvents events(wanted);
    if (!parser.HandleNextDocument(events)) return;
    // yaml-cpp 0.7 never gets past a comma outside of brackets: it reads empty documents there without end.
    if (events.first().pos == last) throw YAML::ParserException(events.first(), "a value was expected");
    last = events.first().pos;
    if (!each(events)) return;
  }
}

ParsedText parse_yaml(const std::string& text, const std::string& file) {
  ParsedText result;
  try {
    for_each_yaml(text, nullptr, [&](YamlEvents& events) {
      result.documents.push_back(events.take());
      return true;
    });
  } catch (const YAML::Exception& error) {
    const int line = error.mark.is_null() ? 0 : error.mark.line + 1;
    const int column = error.mark.is_null() ? 0 : error.mark.column + 1;
    result.fault =
        Diagnostic{file, line, column, Severity::error,
                   "not YAML: " + error.msg + "; check indentation, quotes and brackets here and just above"};
  }
  return result;
}

int yaml_line_of(const std::string& text, std::size_t document, const Pointer& pointer) {
  int line = 0;
  std::size_t number = 0;
  try {
    for_each_yaml(text, &pointer, [&](const YamlEvents& events) {
      line = events.found();
      return number++ != document;
    });
  } catch (const YAML::Exception&) {  // after the document that was asked for, or before: then there is no line to name
  }
  return number > document ? line : 0;
}

bool is_json(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string::npos && (text[first] == '{' || text[first] == '[');
}

}  // namespace

ParsedText parse_documents(const std::string& text, const std::string& file) {
  return is_json(text) ? parse_json(text, file) : parse_yaml(text, file);
}

int line_of(const std::string& text, std::size_t document, const Pointer& pointer) {
  return is_json(text) ? json_line_of(text, document, pointer) : yaml_line_of(text, document, pointer);
}

}  // namespace limpet::service
