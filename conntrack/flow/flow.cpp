#include "conntrack/flow/flow.h"

#include <algorithm>

namespace limpet::flow {

bool Flow::half_open() const noexcept {
  if (!replied) return true;
  if (!is_tcp()) return false;
  return tcp.over() || tcp.state() <= TcpState::syn_recv;
}

void Flow::touch(const Timeouts& timeouts, Instant now) noexcept {
  Seconds idle = replied ? timeouts.udp_stream : timeouts.udp;
  if (is_tcp()) {
    idle = tcp.timeout(timeouts);
    if (!replied) idle = std::min(idle, timeouts.tcp_syn_sent);  // adopted in the middle, and nobody there
    if (masquerade && tcp.state() == TcpState::time_wait) idle = std::min(idle, kPortHold);
  }
  deadline = now + idle;
}

}  // namespace limpet::flow
