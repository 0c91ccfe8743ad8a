// step_json.h: one crossing of a packet as a JSON object, and back: the lines of `limpet trace -j`, offline and live.
//
// The object's keys, in this order; those in brackets only where they have a meaning:
//   t, packet, hook|null, protocol, source, destination, [detail], [about: {protocol, source, destination}],
//   [captured: {source, destination}], key: "outer|middle|inner|new"|null,
//   [decision: {action, service|null, endpoint|null, masquerade, affinity, reason}], outcome,
//   [to: {source, destination, [about]}], [mark: true|false], verdict: "accept|drop", [answer]
// t is seconds since 1970, to the microsecond; packet numbers the capture's packets, in a live trace the crossings; outcome
// is the name of the counter that was counted, or "not_diverted".
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "lb/datapath/path_step.h"

namespace limpet::control {

nlohmann::ordered_json to_json(const datapath::PathStep& step);
/// All that the object says; nullopt if it is no such object.
std::optional<datapath::PathStep> step_from_json(const nlohmann::ordered_json& json);

// The words that it uses.
std::string_view key_word(const datapath::PathStep& step);  // "-": no flow
std::string_view reason_words(datapath::Reason reason);
std::string_view answer_word(net::ReplyKind reply);
/// With a port, where the packet has ports.
std::string end_text(const datapath::PacketFacts& facts, const net::AddressPort& end);

}  // namespace limpet::control
