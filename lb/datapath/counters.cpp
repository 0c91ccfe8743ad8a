#include "lb/datapath/counters.h"

namespace limpet::datapath {

std::string_view to_string(Counter counter) noexcept {
  static constexpr std::array<std::string_view, kCounters> names{
      "packets",
      "rewritten",
      "new_flows",
      "ruled_flows",
      "affinity_hit",
      "affinity_miss",
      "affinity_expired",
      "affinity_moved_gone",
      "affinity_moved_drained",
      "affinity_moved_not_ready",
      "confirmed",
      "expired_flows",
      "evicted_flows",
      "accepted_direct",
      "accepted_miss",
      "accepted_not_a_service",
      "foreign_syn_ack",
      "ports_reclaimed",
      "tuple_clashes",
      "direct_flows",
      "icmp_errors",
      "fragments",
      "fragments_forgotten",
      "dropped_too_short",
      "dropped_bad_version",
      "dropped_bad_header_length",
      "dropped_extension_chain",
      "dropped_fragment",
      "dropped_unsupported",
      "dropped_truncated",
      "dropped_zero_checksum",
      "dropped_midstream",
      "dropped_rejected",
      "dropped_echo_request",
      "dropped_redirect",
      "dropped_no_local",
      "dropped_source_range",
      "dropped_unallocated",
      "dropped_by_rule",
      "dropped_flow_table_full",
      "dropped_no_egress",
      "dropped_no_port",
  };
  return names[static_cast<std::size_t>(counter)];
}

}  // namespace limpet::datapath
