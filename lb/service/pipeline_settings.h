// pipeline_settings.h: what the pipeline and its tables must know of a configuration: the same for the daemon and for whoever
// runs the pipeline offline.
#pragma once

#include "conntrack/flow/port_pool.h"
#include "lb/datapath/pipeline.h"
#include "lb/service/config.h"

namespace limpet::service {

datapath::PipelineOptions pipeline_options(const Config& config) noexcept;

/// The ports of masqueradePorts, but nodePorts. `ephemeral`: the node's ip_local_port_range, of which the default has none,
/// unless nothing is left of it then.
flow::PortPool make_port_pool(const Config& config, flow::PortInterval ephemeral = flow::PortPoolOptions{}.ephemeral);

}  // namespace limpet::service
