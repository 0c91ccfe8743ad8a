#include "lb/cli/divert_options.h"

#include <algorithm>

#include "lb/service/node_rules.h"

namespace limpet::cli {

namespace {

divert::Backend backend_of(service::RuleBackend backend) {
  switch (backend) {
    case service::RuleBackend::iptables_nft:
      return divert::Backend::iptables_nft;
    case service::RuleBackend::iptables_legacy:
      return divert::Backend::iptables_legacy;
    case service::RuleBackend::nft:
      return divert::Backend::nft;
    case service::RuleBackend::iptables:
      return divert::Backend::iptables;
    case service::RuleBackend::automatic:
      break;
  }
  return divert::Backend::automatic;
}

/// May any nodePort listen on 127.0.0.1? Objects bring them at any time.
bool serves_localhost(const service::Config& config) {
  const bool any = std::any_of(config.services.begin(), config.services.end(), [](const service::Service& service) {
    return service.node_port != 0 && service.family() == net::Family::v4;
  });
  return (any || config.kubernetes) &&
         service::NodeRules(config.node).accepts_node_ports(net::Address::from_v4(0x7f000001), {});
}

}  // namespace

divert::Options divert_options(const service::Config& config, const RuleProgram* program) {
  return {.backend = backend_of(config.backend),
          .first_queue = config.queues.first,
          .queue_count = config.queues.count,
          .mark_mask = config.mark_mask,
          .on_death = config.on_death == service::OnDeath::bypass ? divert::OnDeath::bypass : divert::OnDeath::hold,
          .defragment = config.defragment == service::Defragment::never ? divert::Defragment::never
                                                                        : divert::Defragment::automatic,
          .direct = config.divert_direct,
          .reset_rejected_tcp = config.reject_with == service::RejectWith::tcp_reset,
          .localhost_node_ports = serves_localhost(config) || (program != nullptr && program->serves_localhost())};
}

divert::RouteSources route_sources(const service::Config& config, const node::NodeView& node) {
  divert::RouteSources sources{.v4 = node.primary(net::Family::v4), .v6 = node.primary(net::Family::v6)};
  const auto& node_ip = config.node.node_ip;
  if (node_ip && node.is_local(*node_ip)) (node_ip->is_v4() ? sources.v4 : sources.v6) = *node_ip;
  return sources;
}

store::Result<divert::Warnings> apply_or_remove(divert::Diverter& diverter, const datapath::DiversionPlan& plan,
                                                const divert::RouteSources& sources) {
  const auto diverted_before = diverter.diverts();
  auto applied = diverter.apply(plan, sources);
  if (applied) return applied;
  store::Error error = applied.error();
  if (!diverted_before) return error;
  if (*diverted_before) {
    error.message += "; the rules that were there stay for the next start, `limpet divert cleanup` removes them";
    return error;
  }
  const store::Status requests = diverter.remove_requests();
  const store::Status replies = diverter.remove_replies();
  if (!requests || !replies) error.message += "; and taking the rules back failed, run `limpet divert cleanup`";
  return error;
}

}  // namespace limpet::cli
