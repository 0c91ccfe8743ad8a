// divert_options.h: from a configuration to rules in place.
#pragma once

#include "conntrack/store/result.h"
#include "lb/cli/rule_program.h"
#include "lb/divert/diverter.h"
#include "lb/divert/options.h"
#include "lb/node/node_view.h"
#include "lb/service/config.h"

namespace limpet::cli {

/// What lb/divert must know of a configuration. `program`: its iptables program, if it has one.
divert::Options divert_options(const service::Config& config, const RuleProgram* program = nullptr);

/// What this node's clients of VIPs speak from: nodeIP if the node has it (a configuration may describe another node),
/// else the default route's source.
divert::RouteSources route_sources(const service::Config& config, const node::NodeView& node);

/// Apply the plan. If that fails, take back what was done of it, since rules that nobody will serve swallow packets; but
/// only if nothing was diverted before: what a former process kept is kept for the next one, too.
store::Result<divert::Warnings> apply_or_remove(divert::Diverter& diverter, const datapath::DiversionPlan& plan,
                                                const divert::RouteSources& sources);

}  // namespace limpet::cli
