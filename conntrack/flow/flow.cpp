#include "conntrack/flow/flow.h"

#include <algorithm>
#include <memory>

#include "conntrack/flow/damage.h"

namespace limpet::flow {

namespace {

bool has_name(net::Protocol protocol) noexcept {
  return net::is_connection_oriented(protocol) || protocol == net::Protocol::udp || protocol == net::Protocol::udplite;
}

}  // namespace

void Flow::start(net::Protocol of) noexcept {
  protocol = of;
  masquerade = confirmed = replied = shared = direct = false;
  if (is_sctp()) {
    std::construct_at(&sctp);
  } else {
    std::construct_at(&tcp);
  }
}

void Flow::adopt() noexcept {
  if (is_tcp()) {
    tcp.adopt();
  } else if (is_sctp()) {
    sctp.adopt();
  }
}

bool Flow::is_whole() const noexcept {
  if (phase.load(std::memory_order_relaxed) > Phase::ending || !has_name(protocol)) return false;
  if (!are_bools(masquerade, confirmed, replied, shared, direct, linked[0], linked[1], linked[2], refreshes_affinity))
    return false;
  // One family on both sides of the translation: a packet is rewritten in place.
  const net::Family family = client.address.family();
  if (family != net::Family::v4 && family != net::Family::v6) return false;
  for (const net::AddressPort* end : {&service, &endpoint, &client_near}) {
    if (end->address.family() != family) return false;
  }
  if (linked[static_cast<unsigned>(KeyRole::inner)] && egress.address.family() != family) return false;
  return is_sctp() ? sctp.is_whole() : tcp.is_whole();
}

bool Flow::half_open() const noexcept {
  if (!replied) return true;
  if (is_sctp()) return sctp.half_open();
  return is_tcp() && (tcp.over() || tcp.state() <= TcpState::syn_recv);
}

void Flow::touch(const Timeouts& timeouts, Instant now) noexcept {
  Seconds idle = replied ? timeouts.udp_stream : timeouts.udp;
  if (is_tcp()) {
    idle = tcp.timeout(timeouts);
    if (!replied) idle = std::min(idle, timeouts.tcp_syn_sent);  // adopted in the middle, and nobody there
    if (masquerade && tcp.state() == TcpState::time_wait) idle = std::min(idle, kPortHold);
  } else if (is_sctp()) {
    idle = sctp.timeout(timeouts);
  }
  deadline = now + idle;
}

}  // namespace limpet::flow
