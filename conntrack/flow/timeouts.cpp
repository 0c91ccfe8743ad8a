#include "conntrack/flow/timeouts.h"

#include <array>

namespace limpet::flow {

std::span<const Timeouts::Field> Timeouts::fields() noexcept {
  static constexpr std::array<Field, 10> all{{
      {"tcp_syn_sent", &Timeouts::tcp_syn_sent},
      {"tcp_syn_recv", &Timeouts::tcp_syn_recv},
      {"tcp_established", &Timeouts::tcp_established},
      {"tcp_fin_wait", &Timeouts::tcp_fin_wait},
      {"tcp_close_wait", &Timeouts::tcp_close_wait},
      {"tcp_last_ack", &Timeouts::tcp_last_ack},
      {"tcp_time_wait", &Timeouts::tcp_time_wait},
      {"tcp_close", &Timeouts::tcp_close},
      {"udp", &Timeouts::udp},
      {"udp_stream", &Timeouts::udp_stream},
  }};
  return all;
}

}  // namespace limpet::flow
