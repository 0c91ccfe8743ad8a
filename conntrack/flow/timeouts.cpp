#include "conntrack/flow/timeouts.h"

#include <array>

namespace limpet::flow {

std::span<const Timeouts::Field> Timeouts::fields() noexcept {
  static constexpr std::array<Field, 19> all{{
      {"tcp_syn_sent", &Timeouts::tcp_syn_sent},
      {"tcp_syn_recv", &Timeouts::tcp_syn_recv},
      {"tcp_established", &Timeouts::tcp_established},
      {"tcp_fin_wait", &Timeouts::tcp_fin_wait},
      {"tcp_close_wait", &Timeouts::tcp_close_wait},
      {"tcp_last_ack", &Timeouts::tcp_last_ack},
      {"tcp_time_wait", &Timeouts::tcp_time_wait},
      {"tcp_close", &Timeouts::tcp_close},
      {"sctp_closed", &Timeouts::sctp_closed},
      {"sctp_cookie_wait", &Timeouts::sctp_cookie_wait},
      {"sctp_cookie_echoed", &Timeouts::sctp_cookie_echoed},
      {"sctp_established", &Timeouts::sctp_established},
      {"sctp_shutdown_sent", &Timeouts::sctp_shutdown_sent},
      {"sctp_shutdown_recd", &Timeouts::sctp_shutdown_recd},
      {"sctp_shutdown_ack_sent", &Timeouts::sctp_shutdown_ack_sent},
      {"sctp_heartbeat_sent", &Timeouts::sctp_heartbeat_sent},
      {"udp", &Timeouts::udp},
      {"udp_stream", &Timeouts::udp_stream},
      {"frag", &Timeouts::frag},
  }};
  return all;
}

}  // namespace limpet::flow
