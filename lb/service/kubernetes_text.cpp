#include "lb/service/kubernetes_text.h"

#include <algorithm>
#include <charconv>
#include <memory>
#include <sstream>
#include <unordered_map>
#include <utility>

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/parser.h>
#include <yaml-cpp/yaml.h>

namespace limpet::service {
namespace {

using nlohmann::json;
using Pointer = json::json_pointer;

/// Values that are asked for, by the keys and indices that lead to them: what is on nobody's way costs nothing.
class Wanted {
 public:
  /// The value at `pointer` is what `number` asks for.
  void ask(Pointer pointer, std::size_t number) {
    std::vector<std::string> steps;
    for (; !pointer.empty(); pointer.pop_back()) steps.push_back(pointer.back());
    Wanted* at = this;
    for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
      auto& next = at->below_[*step];
      if (next == nullptr) next = std::make_unique<Wanted>();
      at = next.get();
    }
    at->numbers_.push_back(number);
  }
  const Wanted* below(const std::string& step) const {
    const auto found = below_.find(step);
    return found == below_.end() ? nullptr : found->second.get();
  }
  const std::vector<std::size_t>& numbers() const noexcept { return numbers_; }

 private:
  std::unordered_map<std::string, std::unique_ptr<Wanted>> below_;
  std::vector<std::size_t> numbers_;
};
using WantedByDocument = std::vector<Wanted>;

/// Whoever asked for this value, and has no line of an earlier one, gets this line.
void note_line(const Wanted& wanted, int line, std::vector<int>& lines) {
  for (const std::size_t number : wanted.numbers()) {
    if (lines[number] == 0) lines[number] = line;
  }
}

/// Where a reader stands in a document: the keys and indices from its root.
class Path {
 public:
  explicit Path(const Wanted* wanted) : root_(wanted) {}

  void enter(bool list) {
    const Wanted* const here = wanted();
    levels_.push_back({list, 0, {}, here});
  }
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
  /// What is asked for at the value that comes next, and below; nullptr: nothing.
  const Wanted* wanted() const {
    if (levels_.empty()) return root_;
    const Level& level = levels_.back();
    if (level.wanted == nullptr) return nullptr;
    return level.wanted->below(level.list ? std::to_string(level.index) : level.key);
  }

 private:
  struct Level {
    bool list;
    std::size_t index;
    std::string key;
    const Wanted* wanted;
  };
  const Wanted* root_;
  std::vector<Level> levels_;
};

// ---------------------------------------------------------------------------------------------------------------- JSON

int line_at(const std::string& text, std::size_t offset) {
  const auto end = text.begin() + static_cast<std::ptrdiff_t>(std::min(offset, text.size()));
  return 1 + static_cast<int>(std::count(text.begin(), end, '\n'));
}

/// Lines at offsets that ascend: all of them together cost one look at the text.
class LineCounter {
 public:
  explicit LineCounter(const std::string& text) : text_(text) {}
  int at(std::size_t offset) {
    const auto begin = text_.begin() + static_cast<std::ptrdiff_t>(offset_);
    offset_ = std::clamp(offset, offset_, text_.size());
    line_ += static_cast<int>(std::count(begin, text_.begin() + static_cast<std::ptrdiff_t>(offset_), '\n'));
    return line_;
  }

 private:
  const std::string& text_;
  std::size_t offset_ = 0;
  int line_ = 1;
};

/// Notes where the values end that a document is asked for.
class JsonLocator final : public nlohmann::json_sax<json> {
 public:
  JsonLocator(std::istringstream& in, LineCounter& counter, const Wanted& wanted, std::vector<int>& lines)
      : in_(in), counter_(counter), path_(&wanted), lines_(lines) {}

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
    const Wanted* const wanted = path_.wanted();
    if (wanted == nullptr || wanted->numbers().empty()) return;
    const std::streamoff end = in_.tellg();
    if (end <= 0) return;
    const int line = counter_.at(static_cast<std::size_t>(end) - 1);
    note_line(*wanted, line, lines_);
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
  LineCounter& counter_;
  Path path_;
  std::vector<int>& lines_;
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

void find_json_lines(const std::string& text, const WantedByDocument& wanted, std::vector<int>& lines) {
  std::istringstream in(text);
  LineCounter counter(text);
  for (std::size_t number = 0; number < wanted.size() && !at_end(in); ++number) {
    JsonLocator locator(in, counter, wanted[number], lines);
    if (!json::sax_parse(in, &locator, json::input_format_t::json, false)) return;
  }
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

/// Makes JSON of a document's events; notes where the values begin that it is asked for.
class YamlEvents final : public YAML::EventHandler {
 public:
  YamlEvents() : path_(nullptr) {}
  YamlEvents(const Wanted& wanted, std::vector<int>& lines) : path_(&wanted), lines_(&lines) {}

  json take() { return std::move(root_); }
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
    if (const Wanted* const wanted = path_.wanted()) note_line(*wanted, at.line + 1, *lines_);
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

  YAML::Mark first_;
  json root_;
  std::vector<json*> open_;  // parents stay where they are: only the last one grows
  std::vector<char> has_key_;
  std::string key_;
  Path path_;
  std::vector<int>* lines_ = nullptr;  // unless nothing is asked for
};

/// Calls `each` with the events of every document, in what make(its number) has made; false ends it.
template <typename Make, typename Each>
void for_each_yaml(const std::string& text, const Make& make, const Each& each) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  int last = -1;
  for (std::size_t number = 0;; ++number) {
    YamlEvents events = make(number);
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
    const auto unasked = [](std::size_t) { return YamlEvents(); };
    for_each_yaml(text, unasked, [&](YamlEvents& events) {
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

void find_yaml_lines(const std::string& text, const WantedByDocument& wanted, std::vector<int>& lines) {
  std::size_t done = 0;
  try {
    const auto asked = [&](std::size_t number) { return YamlEvents(wanted[number], lines); };
    for_each_yaml(text, asked, [&](const YamlEvents&) { return ++done != wanted.size(); });
  } catch (const YAML::Exception&) {  // there is no more line to name
  }
}

bool is_json(const std::string& text) {
  const std::size_t first = text.find_first_not_of(" \t\r\n");
  return first != std::string::npos && (text[first] == '{' || text[first] == '[');
}

}  // namespace

ParsedText parse_documents(const std::string& text, const std::string& file) {
  return is_json(text) ? parse_json(text, file) : parse_yaml(text, file);
}

std::vector<int> lines_of(const std::string& text, const std::vector<TextPlace>& places) {
  std::vector<int> lines(places.size(), 0);
  WantedByDocument wanted;
  for (std::size_t i = 0; i < places.size(); ++i) {
    if (places[i].document >= wanted.size()) wanted.resize(places[i].document + 1);
    wanted[places[i].document].ask(places[i].pointer, i);
  }
  if (wanted.empty()) return lines;
  is_json(text) ? find_json_lines(text, wanted, lines) : find_yaml_lines(text, wanted, lines);
  return lines;
}

}  // namespace limpet::service
