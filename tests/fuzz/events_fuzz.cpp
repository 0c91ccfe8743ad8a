// events_fuzz.cpp: any text as a line of a timeline: an event within its bounds, or words about what is wrong with it.
#include <cstddef>
#include <cstdint>
#include <string>

#include "lb/lab/event_file.h"
#include "tests/fuzz/require.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace limpet;
  using limpet::fuzz::require;
  const std::string line(reinterpret_cast<const char*>(data), size);
  lab::Event event;
  const std::string wrong = lab::parse_event(line, event);
  lab::Event again;
  require(lab::parse_event(line, again) == wrong, "a line means the same twice");
  if (!wrong.empty()) return 0;
  require(event.time.count() >= 0, "time begins at 0");
  require(event.tuple.destination.port != 0, "a connection goes to a port");
  require(event.tuple.source.address.family() == event.tuple.destination.address.family(), "one family");
  require(event.tuple.protocol != net::Protocol{} && event.tuple.protocol != net::Protocol::icmp, "a transport");
  require(again.tuple == event.tuple && again.time == event.time && again.in_interface == event.in_interface,
          "an event means the same twice");
  return 0;
}
