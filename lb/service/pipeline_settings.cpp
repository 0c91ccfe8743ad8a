#include "lb/service/pipeline_settings.h"

#include <algorithm>
#include <vector>

namespace limpet::service {

datapath::PipelineOptions pipeline_options(const Config& config) noexcept {
  return {.mark_mask = config.mark_mask,
          .midstream = config.midstream,
          .reset_rejected_tcp = config.reject_with == RejectWith::tcp_reset,
          .answer_echo = config.icmp_echo == IcmpEcho::reply,
          .track_direct = config.divert_direct};
}

namespace {

std::vector<flow::PortInterval> default_ports(flow::PortInterval ephemeral) {
  std::vector<flow::PortInterval> whole;
  std::vector<flow::PortInterval> left;
  for (const auto [first, last] : kMasqueradePorts) {
    whole.push_back({first, last});
    const auto before = static_cast<std::uint16_t>(std::min<int>(last, ephemeral.first - 1));
    const auto behind = static_cast<std::uint16_t>(std::max<int>(first, std::min(ephemeral.last + 1, 65535)));
    if (ephemeral.first > first) left.push_back({first, before});
    if (ephemeral.last < last) left.push_back({behind, last});
  }
  return left.empty() ? whole : left;
}

}  // namespace

flow::PortPool make_port_pool(const Config& config, flow::PortInterval ephemeral) {
  std::vector<flow::PortInterval> assignable;
  std::vector<std::uint16_t> node_ports;
  for (const PortRange& range : config.masquerade_ports) assignable.push_back({range.first, range.last});
  if (assignable.empty()) assignable = default_ports(ephemeral);
  for (const Service& service : config.services) {
    if (service.node_port != 0) node_ports.push_back(service.node_port);
  }
  return flow::PortPool({.assignable = assignable, .ephemeral = ephemeral, .node_ports = node_ports});
}

}  // namespace limpet::service
