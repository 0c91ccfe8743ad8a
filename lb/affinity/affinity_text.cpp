#include "lb/affinity/affinity_text.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <istream>
#include <optional>
#include <ostream>
#include <string_view>
#include <utility>

#include <time.h>

namespace limpet::affinity {
namespace {

constexpr std::string_view kFormat = "limpet-affinity";
constexpr std::string_view kVersion = "1";
constexpr std::string_view kEnd = "end";
constexpr std::string_view kConfirmed = "confirmed";
constexpr std::string_view kProvisional = "provisional";

// ---- fields ----

bool is_control(char c) {
  return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
}

bool needs_quotes(std::string_view field) {
  return field.empty() || field.front() == '#' || std::any_of(field.begin(), field.end(), [](char c) {
           return c == ' ' || c == '"' || c == '\\' || is_control(c);
         });
}

std::string quoted(std::string_view field) {
  if (!needs_quotes(field)) return std::string(field);
  std::string text = "\"";
  for (const char c : field) {
    if (is_control(c)) {
      char code[5];
      std::snprintf(code, sizeof code, "\\x%02x", static_cast<unsigned>(static_cast<unsigned char>(c)));
      text += code;
    } else {
      if (c == '"' || c == '\\') text += '\\';
      text += c;
    }
  }
  return text + '"';
}

template <typename Number>
std::optional<Number> parse_number(std::string_view text, int base = 10) {
  Number value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// What a backslash stands for, taken from the front of `rest` (which begins behind the backslash).
std::optional<char> take_escape(std::string_view& rest) {
  if (rest.empty()) return std::nullopt;
  const char kind = rest.front();
  rest.remove_prefix(1);
  if (kind == '"' || kind == '\\') return kind;
  if (kind != 'x' || rest.size() < 2) return std::nullopt;
  const auto byte = parse_number<std::uint8_t>(rest.substr(0, 2), 16);
  if (!byte) return std::nullopt;
  rest.remove_prefix(2);
  return static_cast<char>(*byte);
}

/// A field in quotation marks, taken from the front of `rest`. nullopt: it has no end, or a backslash that means
/// nothing.
std::optional<std::string> take_quoted(std::string_view& rest) {
  std::string field;
  rest.remove_prefix(1);
  while (!rest.empty()) {
    const char c = rest.front();
    rest.remove_prefix(1);
    if (c == '"') return field;
    if (c != '\\') {
      field += c;
      continue;
    }
    const auto meant = take_escape(rest);
    if (!meant) return std::nullopt;
    field += *meant;
  }
  return std::nullopt;
}

/// nullopt: quotation marks or blanks are not where they belong.
std::optional<std::vector<std::string>> split(std::string_view rest) {
  std::vector<std::string> fields;
  while (true) {
    if (!rest.empty() && rest.front() == '"') {
      auto field = take_quoted(rest);
      if (!field) return std::nullopt;
      fields.push_back(std::move(*field));
    } else {
      const std::string_view field = rest.substr(0, rest.find(' '));
      if (field.empty() || field.find('"') != std::string_view::npos) return std::nullopt;
      fields.emplace_back(field);
      rest.remove_prefix(field.size());
    }
    if (rest.empty()) return fields;
    if (rest.front() != ' ') return std::nullopt;
    rest.remove_prefix(1);
  }
}

// ---- the time ----

/// Digits `begin`… of "2026-11-27T13:55:02.123Z".
std::optional<int> digits(std::string_view text, std::size_t begin, std::size_t count) {
  const auto value = parse_number<unsigned>(text.substr(begin, count));
  return value ? std::optional(static_cast<int>(*value)) : std::nullopt;
}

std::optional<WallTime> parse_time(std::string_view text) {
  constexpr std::string_view kShape = "dddd-dd-ddTdd:dd:dd.dddZ";
  if (text.size() != kShape.size()) return std::nullopt;
  for (std::size_t i = 0; i < kShape.size(); ++i) {
    const bool digit = text[i] >= '0' && text[i] <= '9';
    if (kShape[i] == 'd' ? !digit : text[i] != kShape[i]) return std::nullopt;
  }
  tm parts{};
  parts.tm_year = *digits(text, 0, 4) - 1900;
  parts.tm_mon = *digits(text, 5, 2) - 1;
  parts.tm_mday = *digits(text, 8, 2);
  parts.tm_hour = *digits(text, 11, 2);
  parts.tm_min = *digits(text, 14, 2);
  parts.tm_sec = *digits(text, 17, 2);
  tm real = parts;  // timegm() makes a real time of the 99th of a month
  const std::chrono::seconds seconds(::timegm(&real));
  if (real.tm_mon != parts.tm_mon || real.tm_mday != parts.tm_mday || real.tm_hour != parts.tm_hour ||
      real.tm_min != parts.tm_min || real.tm_sec != parts.tm_sec) {
    return std::nullopt;
  }
  return WallTime(seconds + flow::Milliseconds(*digits(text, 20, 3)));
}

// ---- lines ----

class Reader {
 public:
  explicit Reader(std::string file) : file_(std::move(file)) {}

  void line(std::string_view text) {
    ++number_;
    if (number_ == 1) return header(text);
    if (text.empty() || text.front() == '#') return;
    if (ended_) return reject("there is more behind the line '" + std::string(kEnd) + "'; were two files joined?");
    const auto fields = split(text);
    if (!fields) {
      return reject(
          "fields are not separated by single blanks, or a quotation mark has no other; write \"…\" around a "
          "field with blanks, \\\" for a quotation mark in it");
    }
    if (fields->front() == kEnd && fields->size() == 2) return end(fields->back());
    entry(*fields);
  }

  ParsedText finish() && {
    if (number_ == 0) {
      number_ = 1;
      reject("the file is empty; `limpet affinity save` writes one");
    } else if (!ended_ && !foreign_) {
      ++number_;
      reject("the last line, '" + std::string(kEnd) + " COUNT', is missing: the file was cut off; save it again");
    }
    return std::move(parsed_);
  }

  /// Nothing more is worth reading: it is no such file.
  bool foreign() const { return foreign_; }

 private:
  void reject(std::string message) {
    ++parsed_.error_count;
    if (parsed_.errors.size() < ParsedText::kMostErrors) {
      parsed_.errors.push_back({file_, number_, std::move(message)});
    }
  }

  void header(std::string_view text) {
    const auto fields = split(text);
    if (!fields || fields->front() != kFormat) {
      foreign_ = true;
      return reject("this is no list of affinities: the first line must begin with '" + std::string(kFormat) +
                    "'; `limpet affinity save` writes one");
    }
    if (fields->size() < 2 || (*fields)[1] != kVersion) {
      foreign_ = true;
      return reject("version '" + (fields->size() < 2 ? std::string() : (*fields)[1]) + "' is not known here, only " +
                    std::string(kVersion) + "; load it with the limpet that wrote it, or save it again");
    }
    const auto time = fields->size() == 3 ? parse_time(fields->back()) : std::nullopt;
    if (!time) return reject("the time of writing must follow the version, as in 2026-11-27T13:55:02.123Z");
    parsed_.written = *time;
  }

  void end(const std::string& text) {
    ended_ = true;
    const auto count = parse_number<std::size_t>(text);
    if (!count) return reject("'" + text + "' is no number of entries");
    if (*count != lines_) {
      reject("there are " + std::to_string(lines_) + " entries and not " + text +
             ": some were taken out or added; correct this line if that was meant");
    }
  }

  void entry(const std::vector<std::string>& fields) {
    ++lines_;
    if (fields.size() != 5) {
      return reject("there are " + std::to_string(fields.size()) +
                    " fields; write service, client, endpoint, age in ms, confirmed or provisional");
    }
    const auto client = net::Address::parse(fields[1]);
    if (!client) return reject("'" + fields[1] + "' is no IP address; write one as in 203.0.113.7 or fd00::1");
    const auto endpoint = net::AddressPort::parse(fields[2]);
    if (!endpoint) return reject("'" + fields[2] + "' is no IP:PORT; write it as in 10.2.0.1:8080 or [fd00::1]:80");
    const auto age = parse_number<std::uint32_t>(fields[3]);
    if (!age) return reject("'" + fields[3] + "' is no age; write whole milliseconds, less than 2^32");
    const bool confirmed = fields[4] == kConfirmed;
    if (!confirmed && fields[4] != kProvisional) {
      return reject("'" + fields[4] + "' is no state; write confirmed or provisional");
    }
    parsed_.entries.push_back({fields[0], *client, *endpoint, flow::Milliseconds(*age), confirmed});
  }

  std::string file_;
  std::size_t number_ = 0;  // of the line
  std::size_t lines_ = 0;   // of entries, good or bad
  bool ended_ = false;
  bool foreign_ = false;
  ParsedText parsed_;
};

}  // namespace

void write_header(std::ostream& out, WallTime now) {
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const std::time_t time = seconds.time_since_epoch().count();
  tm parts{};
  ::gmtime_r(&time, &parts);
  char text[80];
  std::snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.%03dZ", parts.tm_year + 1900, parts.tm_mon + 1,
                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec, static_cast<int>((now - seconds).count()));
  out << kFormat << ' ' << kVersion << ' ' << text << '\n';
}

void write_entry(std::ostream& out, const NamedEntry& entry) {
  out << quoted(entry.service) << ' ' << entry.client.to_string() << ' ' << entry.endpoint.to_string() << ' '
      << entry.age.count() << ' ' << (entry.confirmed ? kConfirmed : kProvisional) << '\n';
}

void write_end(std::ostream& out, std::size_t entries) {
  out << kEnd << ' ' << entries << '\n';
}

ParsedText parse_text(std::istream& in, const std::string& file) {
  Reader reader(file);
  std::string line;
  while (!reader.foreign() && std::getline(in, line)) reader.line(line);
  return std::move(reader).finish();
}

}  // namespace limpet::affinity
