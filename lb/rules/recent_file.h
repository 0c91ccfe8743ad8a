// recent_file.h: reads what xt_recent shows of its lists, /proc/net/xt_recent/NAME.
//
//   src=198.18.0.1 ttl: 64 last_seen: 4295738616 oldest_pkt: 2 4295738607, 4295738616
//   └ client (IPv6: all eight groups)   └ newest stamp      └ next slot   └ the stamps, in the order of their slots
//
// Stamps are jiffies (jiffies.h). A list shows at most ip_list_tot entries (100 unless the module was loaded otherwise)
// of at most 65536 stamps each. A line that is not of this form is an error, and names file and line: a kernel that
// writes otherwise must not be half understood. Source: net/netfilter/xt_recent.c, recent_seq_show (Linux 6.12).
//
// Reading is the only side effect. Any thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/line_error.h"
#include "conntrack/store/result.h"

namespace limpet::rules {

struct RecentEntry {
  net::Address source;
  std::uint8_t ttl = 0;         // of the packet that was recorded last; 0: written through /proc
  std::uint64_t last_seen = 0;  // jiffies
  std::uint32_t stamps = 0;     // how many are remembered
  friend bool operator==(const RecentEntry&, const RecentEntry&) = default;
};

struct RecentList {
  std::string name;
  std::vector<RecentEntry> entries;
  std::vector<store::LineError> errors;
};

/// `file` is what errors call it.
RecentList parse_recent(std::string name, std::string_view text, const std::string& file);

/// The lists of `folder` whose names begin so, sorted by name. A list that goes while they are read is left out: its
/// last rule has gone. Errors: unavailable: there is no such folder; permission.
store::Result<std::vector<RecentList>> read_recent(const std::filesystem::path& folder, std::string_view prefix);

}  // namespace limpet::rules
