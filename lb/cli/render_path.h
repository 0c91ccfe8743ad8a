// render_path.h: the crossings of a client's packets, one a line, aligned, for people.
//
//   time     hook        packet                                key    what becomes of it
//   0.000000 PREROUTING  tcp 10.1.0.2:40000 > 10.96.0.10:80 S  new    dst := 10.2.1.2:8080, picked (miss), +mark
//            POSTROUTING tcp 10.1.0.2:40000 > 10.2.1.2:8080 S  middle src := 10.3.0.1:40000, -mark
//   1.000000 PREROUTING  udp 10.1.0.2:5353 > 10.96.0.20:53     -      drop: no endpoint, port unreachable sent
//
//   time     seconds since the first packet shown; blank at a packet's further hooks
//   hook     "-": no rule diverts the packet
//   packet   as it comes to the hook. "~" before it: readdressed (lab/packet_path.h)
//   key      of a flow that the packet meets: outer, middle, inner; new: a flow was begun; "-": none
//   what     a packet with new addresses is accepted; behind them how the endpoint was chosen, and in brackets what the
//            affinity table said of the client; +mark, -mark: the mark bit, set or cleared
//
// Below an ICMP error stands what it is about. A line that would be wider than 120 columns goes on in a second one.
//
// The objects are lb/control/step_json.h's.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <span>

#include "lb/lab/packet_path.h"

namespace limpet::cli {

/// Prints the head at once, and then line by line, for who does not know yet what will come.
class PathPrinter {
 public:
  /// How wide the columns are at least.
  PathPrinter(std::ostream& out, std::size_t time_width, std::size_t packet_width);
  void print(const lab::Crossing& crossing);

 private:
  std::ostream& out_;
  std::size_t time_width_;
  std::size_t packet_width_;
  std::optional<std::chrono::microseconds> begin_;
  std::optional<std::uint64_t> former_;  // the number of the line above
};

/// All of them, in columns as wide as they need to be.
void print_table(std::span<const lab::Crossing> crossings, std::ostream& out);

}  // namespace limpet::cli
