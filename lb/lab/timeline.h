// timeline.h: new connections in the order of their time, to be decided offline.
//
//   Event         when, from where, to where; what the first packet of the connection shows
//   EventSource   one event after the other; EventFile (JSON lines), CaptureEvents (pcap)
//
// Times never go back. A source reads its file once, from the beginning, in constant memory but for what it must
// remember of connections. Errors tell file, line and remedy, and end the source.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>

#include "conntrack/flow/timeouts.h"
#include "conntrack/net/address.h"
#include "conntrack/store/result.h"

namespace limpet::lab {

struct Event {
  static constexpr std::uint8_t kUsualTtl = 64;

  std::uint64_t number = 0;          // its line, or its packet's number in the capture; from 1
  std::chrono::microseconds time{};  // since whatever the source counts from
  net::Tuple tuple;
  std::string in_interface;  // empty: unknown
  std::uint8_t ttl = kUsualTtl;
};

class EventSource {
 public:
  EventSource() = default;
  EventSource(const EventSource&) = delete;
  EventSource& operator=(const EventSource&) = delete;
  virtual ~EventSource() = default;

  /// Into `event`. False: the end.
  virtual store::Result<bool> next(Event& event) = 0;
  /// What an error about this event begins with: "file:line" or "file, packet N".
  virtual std::string place(const Event& event) const = 0;
  /// How much of the file has been read, 0 to 1.
  virtual double progress() const = 0;
};

/// A capture if the file begins like one, else JSON lines. `timeouts`: when a datagram begins a new connection.
/// Errors: runtime: the file cannot be read.
store::Result<std::unique_ptr<EventSource>> open_timeline(const std::string& path, const flow::Timeouts& timeouts);

}  // namespace limpet::lab
