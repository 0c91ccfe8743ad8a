// render_path.h: the crossings of a client's packets, one a line: aligned for people, JSON objects for programs.
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
// The object's keys, in this order; those in brackets only where they have a meaning:
//   t, packet, hook|null, protocol, source, destination, [detail], [about: {protocol, source, destination}],
//   [captured: {source, destination}], key: "outer|middle|inner|new"|null,
//   [decision: {action, service|null, endpoint|null, masquerade, affinity, reason}], outcome,
//   [to: {source, destination, [about]}], [mark: true|false], verdict: "accept|drop", [answer]
// t is seconds since 1970, to the microsecond; outcome is the name of the counter that was counted, or "not_diverted".
#pragma once

#include <chrono>
#include <iosfwd>
#include <span>

#include <nlohmann/json.hpp>

#include "lb/lab/packet_path.h"

namespace limpet::cli {

nlohmann::ordered_json to_json(const lab::Crossing& crossing);
void print_table(std::span<const lab::Crossing> crossings, std::ostream& out);

}  // namespace limpet::cli
