// config_parts.h: the three readers that config_reader.cpp puts together. Each asks for its keys of the top-level
// mapping.
#pragma once

#include <string_view>

#include "lb/service/config.h"
#include "lb/service/config_fields.h"

namespace limpet::service {

void read_node(Fields& top, NodeConfig& node);
void read_settings(Fields& top, Config& config);
/// After read_node: warns of VIPs that are addresses of the node, and of replies that may not come back.
void read_services(Fields& top, const NodeConfig& node, std::vector<Service>& services);

/// The one warning of a key that is checked and otherwise left alone.
inline void warn_without_effect(Fields& fields, std::string_view key, std::string_view why) {
  fields.warning(key, std::string(key) + " has no effect in this version: " + std::string(why));
}

}  // namespace limpet::service
