#include "lb/node/local_ports.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <string>

namespace limpet::node {

namespace {

std::optional<std::uint16_t> take_number(std::string_view& text) noexcept {
  text.remove_prefix(std::min(text.find_first_not_of(" \t\n"), text.size()));
  std::uint16_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{}) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return value;
}

}  // namespace

std::optional<LocalPorts> parse_local_ports(std::string_view text) noexcept {
  const auto first = take_number(text);
  const auto last = take_number(text);
  if (!first || !last || *first > *last || text.find_first_not_of(" \t\n") != text.npos) return std::nullopt;
  return LocalPorts{*first, *last};
}

store::Result<LocalPorts> read_local_ports(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  if (const auto ports = parse_local_ports(line)) return *ports;
  return store::Error{store::ErrorKind::unavailable,
                      file.string() + ": cannot read the local port range; is /proc mounted?"};
}

}  // namespace limpet::node
