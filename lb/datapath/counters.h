// counters.h: what happened to the packets, by name.
//
// Each worker owns one Counters and is its only writer: an increment is a plain load and store, never a locked
// instruction. Anyone may read; totals over workers are sums.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace limpet::datapath {

enum class Counter : std::uint8_t {
  packets,       // all that crossed
  rewritten,     // of these, with addresses changed
  new_flows,     // connections given an endpoint
  ruled_flows,   // of these, by an iptables program
  affinity_hit,  // new connections, by what the affinity table said
  affinity_miss,
  affinity_expired,
  affinity_moved_gone,       // and of those that lost their endpoint: it has left the service port
  affinity_moved_drained,    // … takes no new connections
  affinity_moved_not_ready,  // … is not among those that this connection may choose from
  confirmed,                 // clients that answered their endpoint
  expired_flows,             // retired after their timeout
  evicted_flows,             // retired early, because the flow table was full
  accepted_direct,           // crossed a second time, or a direct flow beside ours: left alone
  accepted_miss,             // at a source hook, of no flow of ours: left alone
  accepted_not_a_service,    // at a destination hook, of no service or not for it to refuse: left alone
  foreign_syn_ack,           // SYN|ACK on a flow that waits for none: left alone
  ports_reclaimed,           // a TIME_WAIT port given to a new connection, for want of free ones
  tuple_clashes,             // resolved by another source port
  direct_flows,              // begun to an endpoint without a service (divert.direct)
  icmp_errors,               // ICMP errors about a flow, translated with it
  fragments,                 // later fragments translated like their first
  fragments_forgotten,       // datagrams forgotten before their time, complete or not, because the table was full
  dropped_too_short,         // malformed, each by its net::ParseError: shorter than its headers or stated length
  dropped_bad_version,
  dropped_bad_header_length,
  dropped_extension_chain,
  dropped_fragment,       // of SCTP, with a header cut in two, or after a first that was dropped or is not known
  dropped_unsupported,    // a transport protocol that cannot be translated
  dropped_truncated,      // to be translated, but not here as a whole
  dropped_zero_checksum,  // UDP over IPv6 without a checksum, to be translated
  dropped_midstream,      // TCP without SYN, of no flow, and no affinity to follow
  dropped_rejected,       // refused: no endpoint anywhere, or a rule rejects it
  dropped_echo_request,   // to a service's address: answered in its place
  dropped_redirect,       // ICMP redirects about a flow, which would lead past the translation
  dropped_no_local,       // a Local policy without a local endpoint
  dropped_source_range,   // loadBalancerSourceRanges leave the source out
  dropped_unallocated,    // to an address of serviceCIDRs that no service has
  dropped_by_rule,        // a rule of an iptables program drops it
  dropped_flow_table_full,
  dropped_no_egress,  // to be masqueraded, but no address to do it with, or no longer
  dropped_no_port,    // to be masqueraded or told apart, but no port to do it with
};
inline constexpr std::size_t kCounters = static_cast<std::size_t>(Counter::dropped_no_port) + 1;
/// The enumerator's name.
std::string_view to_string(Counter counter) noexcept;

class Counters {
 public:
  void add(Counter counter, std::uint64_t n = 1) noexcept {
    std::atomic<std::uint64_t>& value = values_[static_cast<std::size_t>(counter)];
    value.store(value.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  std::uint64_t operator[](Counter counter) const noexcept {
    return values_[static_cast<std::size_t>(counter)].load(std::memory_order_relaxed);
  }

 private:
  alignas(64) std::array<std::atomic<std::uint64_t>, kCounters> values_{};
};

}  // namespace limpet::datapath
