// timeouts.h: how long an idle flow is kept, by protocol and state.
//
// Names and defaults are the kernel's (net.netfilter.nf_conntrack_*, Documentation/networking/nf_conntrack-sysctl.rst),
// without the prefix: `tcp_timeout_established` there is `tcp_established` here.
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
  Seconds udp{30};          // one way only
  Seconds udp_stream{120};  // answered

  struct Field {
    std::string_view name;
    Seconds Timeouts::*member;
  };
  /// Every field by its configuration name.
  static std::span<const Field> fields() noexcept;
};

}  // namespace limpet::flow
