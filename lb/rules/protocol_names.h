// protocol_names.h: IANA's protocol numbers by the names that iptables-save prints.
//
// Those that iptables knows by itself, without /etc/protocols; any other is a number. Pure; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace limpet::rules {

/// "tcp", "TCP", "6"; "all" is 0. nullopt: none of them.
std::optional<std::uint8_t> protocol_number(std::string_view name) noexcept;
std::string protocol_name(std::uint8_t number);

}  // namespace limpet::rules
