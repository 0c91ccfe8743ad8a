#include "lb/lab/replay.h"

#include <chrono>

namespace limpet::lab {
namespace {

/// So that no instant is the clock's zero, which means "never" to some.
constexpr flow::Instant kBegin{std::chrono::hours(24)};

}  // namespace

store::Result<Replay::Played> Replay::play(const Event& event) {
  Played played;
  datapath::NewConnection& connection = played.connection;
  connection.tuple = event.tuple;
  connection.ttl = event.ttl;
  if (subject_.is_local(event.tuple.source.address, node_.view())) {
    connection.hook = datapath::Hook::output;
  } else if (!event.in_interface.empty()) {
    const auto interface = node_.interface(event.in_interface);
    if (!interface) return interface.error();
    connection.in_interface = *interface;
  }
  const flow::Instant now = kBegin + std::chrono::floor<flow::Milliseconds>(event.time);
  subject_.tell_time(now);
  played.decision = subject_.decide(connection, node_.view(), now, rng_);
  return played;
}

}  // namespace limpet::lab
