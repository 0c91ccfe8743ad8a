// timeouts.h: how long an idle flow is kept, by protocol and state.
//
// Names and defaults are the kernel's (net.netfilter.nf_conntrack_*, Documentation/networking/nf_conntrack-sysctl.rst),
// without the prefix: `tcp_timeout_established` there is `tcp_established` here. UDP-Lite has UDP's. `frag` is how long
// the first fragment of a datagram is remembered (net.ipv4.ipfrag_time).
#pragma once

#include <span>
#include <string_view>

#include "conntrack/flow/instant.h"

namespace limpet::flow {

struct Timeouts {
  Seconds tcp_syn_sent{120};
  Seconds tcp_syn_recv{60};
  Seconds tcp_established{432000};
  Seconds tcp_fin_wait{120};
  Seconds tcp_close_wait{60};
  Seconds tcp_last_ack{30};
  Seconds tcp_time_wait{120};
  Seconds tcp_close{10};
  Seconds sctp_closed{10};
  Seconds sctp_cookie_wait{3};
  Seconds sctp_cookie_echoed{3};
  Seconds sctp_established{210};
  Seconds sctp_shutdown_sent{3};
  Seconds sctp_shutdown_recd{3};
  Seconds sctp_shutdown_ack_sent{3};
  Seconds sctp_heartbeat_sent{30};
  Seconds udp{30};          // one way only
  Seconds udp_stream{120};  // answered
  Seconds frag{30};

  struct Field {
    std::string_view name;
    Seconds Timeouts::*member;
  };
  /// Every field by its configuration name.
  static std::span<const Field> fields() noexcept;
};

}  // namespace limpet::flow
