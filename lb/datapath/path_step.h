// path_step.h: one packet at one hook, and what became of it there: a line of a trace, for people. What an observer is told
// (observer.h), with the packet in words and the service by its name.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

#include "conntrack/flow/flow.h"
#include "conntrack/net/address.h"
#include "lb/datapath/counters.h"
#include "lb/datapath/decider.h"
#include "lb/datapath/hook.h"
#include "lb/datapath/packet_facts.h"
#include "lb/datapath/pipeline.h"

namespace limpet::datapath {

struct PathStep {
  std::uint64_t number = 0;          // offline: of the packet in the capture; live: of the crossing in the trace
  std::chrono::microseconds time{};  // since 1970-01-01 UTC
  std::optional<Hook> hook;          // nullopt: no rule diverts the packet: it passes as it is
  PacketFacts before;
  PacketFacts after;
  std::optional<net::Tuple> captured;  // as it stood in the capture, if it was readdressed
  std::optional<flow::KeyRole> hit;    // the key of a flow that it met
  std::optional<Decision> decision;
  std::string service;  // that was decided about; empty: none
  Counter outcome = Counter::packets;
  Verdict verdict;
};

}  // namespace limpet::datapath
