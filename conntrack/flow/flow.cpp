#include "conntrack/flow/flow.h"

#include <algorithm>
#include <memory>

namespace limpet::flow {

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
