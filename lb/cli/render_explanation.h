// render_explanation.h: an Explanation as one JSON object for programs, or as a table for people.
//
//   {"action":"dnat|reject|drop|none","endpoints":[…],"endpoint":"ip:port"|null,"masquerade":false,
//    "service":"ns/name:port"|null,"affinity":"none|miss|hit|expired|moved","reason":"…","why":["…"]}
//
// The keys stand in this order; `endpoint` is null unless the action is dnat.
#pragma once

#include <iosfwd>

#include <nlohmann/json.hpp>

#include "lb/service/explain.h"

namespace limpet::cli {

/// `before`: an object of keys that stand before these.
nlohmann::ordered_json to_json(const service::Explanation& explanation,
                               nlohmann::ordered_json before = nlohmann::ordered_json::object());
void print_table(const service::Explanation& explanation, std::ostream& out);

}  // namespace limpet::cli
