// recent_text.h: a `recent` list as /proc/net/xt_recent/NAME shows it, and the commands that may be written there.
//
//   src=198.18.0.1 ttl: 64 last_seen: 4295738616 oldest_pkt: 2 4295738607, 4295738616
//   └ IPv6: all eight groups            └ newest   └ next slot   └ the stamps, in the order of their slots
//
//   +ADDRESS  remember it, or give it a stamp       -ADDRESS  forget it       /  forget all
//
// The kernel looks at 49 bytes of a command and at nothing behind a newline; an address is taken as it stands, not
// masked: one whose host bits are set makes an entry that no packet can match. lb/rules/recent_file.h reads the lines.
// Source: recent_seq_show and recent_mt_proc_write in net/netfilter/xt_recent.c (Linux 6.12).
// Pure but for the table; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "conntrack/net/address.h"
#include "conntrack/store/result.h"
#include "lb/affinity/recent_table.h"

namespace limpet::affinity {

struct RecentCommand {
  enum class Verb : std::uint8_t { add, erase, flush };
  Verb verb = Verb::flush;
  net::Address address;  // of add and erase
  friend bool operator==(const RecentCommand&, const RecentCommand&) = default;
};

/// One line, with its newline.
std::string to_line(const RecentRecord& record);
/// Every entry.
std::string to_text(const RecentTable& table);

/// nullopt: the kernel answers EINVAL.
std::optional<RecentCommand> parse_recent_command(std::string_view text) noexcept;
/// Errors: configuration: no command.
store::Status write(RecentTable& table, std::string_view text, std::uint64_t now);

}  // namespace limpet::affinity
