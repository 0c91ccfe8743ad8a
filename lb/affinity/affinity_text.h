// affinity_text.h: affinities as text, to be carried from one machine, version or start to another.
//
//   limpet-affinity 1 2026-11-27T13:55:02.123Z                           format, version, when it was written (UTC)
//   default/php-apache-svc:http 198.18.0.7 10.28.8.5:80 1234 confirmed   service client endpoint age state
//   "a name: with blanks" fd98::7 [fd02:1::2]:8080 99 provisional
//   end 2                                                                how many entries there were
//
// One entry a line, fields between single blanks. Age: milliseconds since the last refresh, at the time in the first
// line: a reader adds what has passed since. State: has the client proved itself? A field that is empty, begins with
// '#', or holds a blank, a quotation mark, a backslash or a control character stands in quotation marks, with \" \\ and
// \xHH for what cannot stand there. Lines that begin with '#', and empty ones, are remarks. The last line tells a whole
// file from the beginning of one. Names, not ids: they mean the same to another process.
//
// Reading is strict and tells every line that is wrong (kMostErrors at most are kept). Pure; any thread.
#pragma once

#include <chrono>
#include <cstddef>
#include <iosfwd>
#include <string>
#include <vector>

#include "conntrack/flow/instant.h"
#include "conntrack/net/address.h"
#include "conntrack/store/line_error.h"

namespace limpet::affinity {

/// One affinity, by the names that the configuration gives.
struct NamedEntry {
  std::string service;  // "namespace/name:port"
  net::Address client;
  net::AddressPort endpoint;
  flow::Milliseconds age{};
  bool confirmed = false;
  friend bool operator==(const NamedEntry&, const NamedEntry&) = default;
};

/// Milliseconds since 1970-01-01 UTC.
using WallTime = std::chrono::time_point<std::chrono::system_clock, flow::Milliseconds>;

/// What a text says. If `errors` is not empty, the entries are those of its good lines.
struct ParsedText {
  static constexpr std::size_t kMostErrors = 100;
  WallTime written{};
  std::vector<NamedEntry> entries;
  std::vector<store::LineError> errors;  // in the order of the lines
  std::size_t error_count = 0;           // with those that are not kept
};

void write_header(std::ostream& out, WallTime now);
void write_entry(std::ostream& out, const NamedEntry& entry);
void write_end(std::ostream& out, std::size_t entries);

/// `file` is what errors call it.
ParsedText parse_text(std::istream& in, const std::string& file);

}  // namespace limpet::affinity
