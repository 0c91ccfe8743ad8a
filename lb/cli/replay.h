// replay.h: `limpet replay`: what a recorded timeline of connections would meet, one decision a line. Offline: nothing is
// diverted, no daemon is asked.
//
//   -c FILE --packets FILE [--seed N] [-j]
//
// FILE is JSON lines (lab/event_file.h) or a capture (lab/capture_events.h). The node is what the configuration says of
// it, as for `limpet explain`; affinity starts empty and is remembered from line to line, by the timeline's clock. The same
// file, configuration and seed print the same.
//
//   -j        {"t":0.25, …}: the object of `explain -j` with the event's time, one a line
//   without   a line each for people, and a summary: actions, affinity, how many connections each endpoint got
//
// How far it has come is shown on stderr, if that is a terminal and stdout is not. Exit codes: 0 played; 1 the file or
// the machine's addresses cannot be read; 2 usage; 3 configuration, or an event that is wrong (those before it are
// printed).
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>

#include <CLI/App.hpp>

namespace limpet::cli {

struct ReplayOptions {
  std::string config{};
  std::string packets{};
  std::uint64_t seed = 1;
  bool json = false;
  bool progress = false;  // on `err`
};

int run_replay(const ReplayOptions& options, std::ostream& out, std::ostream& err);
/// Registers the subcommand; when it has been given and parsed, it runs and leaves its exit code in `exit_code`.
void add_replay(CLI::App& app, int& exit_code);

}  // namespace limpet::cli
