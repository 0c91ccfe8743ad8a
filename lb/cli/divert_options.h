// divert_options.h: what lb/divert must know of a configuration.
#pragma once

#include "lb/divert/options.h"
#include "lb/node/node_view.h"
#include "lb/service/config.h"

namespace limpet::cli {

divert::Options divert_options(const service::Config& config, const node::NodeView& node);

}  // namespace limpet::cli
