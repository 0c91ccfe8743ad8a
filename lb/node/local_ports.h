// local_ports.h: the ports that the kernel gives to local sockets which ask for none (net.ipv4.ip_local_port_range;
// IPv6 too).
//
// Masquerading keeps away from them: a port in this range may belong to a local connection that limpet cannot see.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string_view>

#include "conntrack/store/result.h"

namespace limpet::node {

/// Both ends inclusive.
struct LocalPorts {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
  friend bool operator==(const LocalPorts&, const LocalPorts&) noexcept = default;
};

/// The file's text: "32768\t60999\n". nullopt if it is anything but two ports in order.
std::optional<LocalPorts> parse_local_ports(std::string_view text) noexcept;

/// Of this network namespace. Errors: unavailable.
store::Result<LocalPorts> read_local_ports(
    const std::filesystem::path& file = "/proc/sys/net/ipv4/ip_local_port_range");

}  // namespace limpet::node
