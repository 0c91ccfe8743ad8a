// divert_options.h: from a configuration to rules in place.
#pragma once

#include "conntrack/store/result.h"
#include "lb/divert/diverter.h"
#include "lb/divert/options.h"
#include "lb/node/node_view.h"
#include "lb/service/config.h"

namespace limpet::cli {

/// What lb/divert must know of a configuration.
divert::Options divert_options(const service::Config& config, const node::NodeView& node);

/// Apply the plan. If that fails, take back what was done of it: rules that nobody will serve swallow packets.
store::Status apply_or_remove(divert::Diverter& diverter, const datapath::DiversionPlan& plan);

}  // namespace limpet::cli
