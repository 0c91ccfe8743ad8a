#include "lb/affinity/recent_text.h"

#include <algorithm>
#include <cstddef>

namespace limpet::affinity {
namespace {

constexpr std::size_t kBytesLookedAt = 49;

/// %pI4 or %pI6.
std::string to_kernel_text(const net::Address& address) {
  if (address.is_v4()) return address.to_string();
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < address.size(); ++i) {
    if (i != 0 && i % 2 == 0) text += ':';
    const auto byte = std::to_integer<unsigned>(address.bytes()[i]);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

/// in4_pton: four numbers up to 255, with any zeros before them.
std::optional<net::Address> parse_v4(std::string_view text) noexcept {
  std::uint32_t address = 0;
  for (unsigned part = 0; part < 4; ++part) {
    std::size_t digits = 0;
    std::uint32_t value = 0;
    for (; digits < text.size() && text[digits] >= '0' && text[digits] <= '9'; ++digits) {
      value = value * 10 + static_cast<std::uint32_t>(text[digits] - '0');
      if (value > 255) return std::nullopt;
    }
    const bool last = part == 3;
    if (digits == 0 || (last ? digits != text.size() : text.substr(digits, 1) != ".")) return std::nullopt;
    text.remove_prefix(last ? digits : digits + 1);
    address = address << 8 | value;
  }
  return net::Address::from_v4(address);
}

}  // namespace

std::string to_line(const RecentRecord& record) {
  std::string line = "src=" + to_kernel_text(record.address) + " ttl: " + std::to_string(record.ttl) +
                     " last_seen: " + std::to_string(record.last_seen) +
                     " oldest_pkt: " + std::to_string(record.next_slot);
  for (std::size_t i = 0; i < record.stamps.size(); ++i) {
    line += (i == 0 ? " " : ", ") + std::to_string(record.stamps[i]);
  }
  return line + '\n';
}

std::string to_text(const RecentTable& table) {
  std::string text;
  for (const RecentRecord& record : table.records()) text += to_line(record);
  return text;
}

std::optional<RecentCommand> parse_recent_command(std::string_view text) noexcept {
  text = text.substr(0, kBytesLookedAt);
  if (text.starts_with('/')) return RecentCommand{};
  if (!text.starts_with('+') && !text.starts_with('-')) return std::nullopt;
  const auto verb = text.front() == '+' ? RecentCommand::Verb::add : RecentCommand::Verb::erase;
  text.remove_prefix(1);
  // Which family it is, the kernel asks of all that was written; where the address ends, of the newline or the NUL.
  const bool v6 = text.find(':') != std::string_view::npos;
  text = text.substr(0, text.find_first_of(std::string_view("\n\0", 2)));
  const auto address = v6 ? net::Address::parse(text) : parse_v4(text);
  if (!address || address->is_v4() == v6) return std::nullopt;
  return RecentCommand{verb, *address};
}

store::Status write(RecentTable& table, std::string_view text, std::uint64_t now) {
  const auto command = parse_recent_command(text);
  if (!command) {
    return store::Error{store::ErrorKind::configuration,
                        "recent: list '" + table.name() + "': '" +
                            std::string(text.substr(0, std::min(text.find('\n'), kBytesLookedAt))) +
                            "' is no command; write +ADDRESS, -ADDRESS or /"};
  }
  switch (command->verb) {
    case RecentCommand::Verb::add:
      table.add(command->address, now);
      break;
    case RecentCommand::Verb::erase:
      table.erase(command->address);
      break;
    case RecentCommand::Verb::flush:
      table.flush();
      break;
  }
  return store::ok();
}

}  // namespace limpet::affinity
