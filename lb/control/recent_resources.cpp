// The `recent` lists of an iptables program: shown, and written to as through /proc/net/xt_recent.
#include <limits>
#include <string>
#include <utility>

#include "lb/affinity/recent_text.h"
#include "lb/control/entries.h"
#include "lb/control/resources.h"
#include "lb/rules/jiffies.h"

namespace limpet::control {

using affinity::RecentLists;
using affinity::RecentPage;
using affinity::RecentRecord;
using affinity::RecentTable;
using nlohmann::ordered_json;

namespace {

constexpr unsigned kBadRequest = 400;
constexpr unsigned kNotFound = 404;
constexpr std::size_t kStampsOfAnswer = 65536;  // then the page ends, behind the piece that they are in

Response no_program() {
  return problem(kNotFound, "no iptables program runs here, so there are no lists of `recent`",
                 "name one in the configuration, as rules: {file: FILE}");
}

}  // namespace

ordered_json to_json(const RecentTable& list) {
  const affinity::RecentCounts counts = list.counts();
  const bool unlimited = list.capacity() == affinity::RecentOptions::kUnlimited;
  return {{"list", list.name()},
          {"entries", counts.entries},
          {"capacity", unlimited ? ordered_json(nullptr) : ordered_json(list.capacity())},
          {"stamps", list.ring()},
          {"evicted", counts.evicted},
          {"starved", counts.starved},
          {"reaped", counts.reaped},
          {"flushed", counts.flushed},
          {"bytes", list.memory()}};
}

ordered_json to_json(const RecentRecord& record) {
  return {{"client", record.address.to_string()},
          {"ttl", record.ttl},
          {"last_seen", record.last_seen},
          {"oldest_pkt", record.next_slot},
          {"stamps", record.stamps}};
}

std::shared_ptr<RecentTable> Resources::recent_list(Query& query, std::optional<Response>& error) {
  const auto name = query.text("list");
  const RecentLists* const lists = tables_.recent_lists();
  if (lists == nullptr) {
    error = no_program();
  } else if (!name) {
    error = problem(kBadRequest, "the parameter 'list' is missing",
                    "write list=NAME; GET /v1/recent names the lists that there are");
  } else if (auto list = lists->find(*name)) {
    return list;
  } else {
    error = problem(kNotFound, "there is no list '" + *name + "'", "GET /v1/recent names the lists that there are");
  }
  return nullptr;
}

/// The cursor counts the lists in the order of their names.
Response Resources::recent(Query& query) {
  Page page = read_page(query);
  if (const auto error = query.error()) return *error;
  const RecentLists* const lists = tables_.recent_lists();
  if (lists == nullptr) return no_program();
  const std::vector<std::string> names = lists->names();
  std::uint64_t at = page.cursor;
  for (; at < names.size() && page.items.size() < page.limit; ++at) {
    if (const auto list = lists->find(names[at])) page.items.push_back(to_json(*list));
  }
  return std::move(page).response(at < names.size() ? std::optional(at) : std::nullopt);
}

/// The cursor is a slot. A list's lock is held for one of its pages at a time.
Response Resources::recent_entries(Query& query) {
  std::optional<Response> unknown;
  const auto list = recent_list(query, unknown);
  const auto client = query.prefix("client");
  Page page = read_page(query);
  if (const auto error = query.error()) return *error;
  if (unknown) return *unknown;
  if (page.cursor > std::numeric_limits<std::uint32_t>::max()) return std::move(page).response(std::nullopt);
  std::optional<std::uint32_t> next = static_cast<std::uint32_t>(page.cursor);
  std::size_t stamps = 0;
  for (std::size_t looked = 0; next && page.items.size() < page.limit && looked < kLook && stamps < kStampsOfAnswer;
       looked += RecentTable::kSlotsOfPage) {
    const RecentPage piece = list->page(*next);
    for (const RecentRecord& record : piece.records) {
      if (client && !client->contains(record.address)) continue;
      page.items.push_back(to_json(record));
      stamps += record.stamps.size();
    }
    next = piece.next;
  }
  return std::move(page).response(next ? std::optional<std::uint64_t>(*next) : std::nullopt);
}

Response Resources::post_recent(Query& query) {
  std::optional<Response> unknown;
  const auto list = recent_list(query, unknown);
  if (const auto error = query.error()) return *error;
  if (unknown) return *unknown;
  const std::uint64_t now = rules::jiffies_at(now_(), tables_.recent_lists()->options().per_second);
  if (const auto done = affinity::write(*list, body_, now); !done) {
    return problem(kBadRequest, done.error().message, "one command a request, and the address as the list has it");
  }
  return {.body = {{"list", list->name()}, {"entries", list->counts().entries}}};
}

}  // namespace limpet::control
