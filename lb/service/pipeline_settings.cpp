#include "lb/service/pipeline_settings.h"

#include <vector>

namespace limpet::service {

datapath::PipelineOptions pipeline_options(const Config& config) noexcept {
  return {.mark_mask = config.mark_mask,
          .midstream = config.midstream,
          .reset_rejected_tcp = config.reject_with == RejectWith::tcp_reset,
          .answer_echo = config.icmp_echo == IcmpEcho::reply,
          .track_direct = config.divert_direct};
}

flow::PortPool make_port_pool(const Config& config, flow::PortInterval ephemeral) {
  std::vector<flow::PortInterval> assignable;
  std::vector<std::uint16_t> node_ports;
  for (const PortRange& range : config.masquerade_ports) assignable.push_back({range.first, range.last});
  for (const Service& service : config.services) {
    if (service.node_port != 0) node_ports.push_back(service.node_port);
  }
  return flow::PortPool({.assignable = assignable, .ephemeral = ephemeral, .node_ports = node_ports});
}

}  // namespace limpet::service
