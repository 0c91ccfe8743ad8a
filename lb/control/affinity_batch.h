// affinity_batch.h: affinities that come from elsewhere (`limpet affinity load`, `import-recent`), many in one request.
//
//   POST /v1/affinity   {"entries": [{"service": "ns/name:port", "client": "IP", "endpoint": "IP:PORT",
//                                     "confirmed": true, "age": 12.345}, …]}            the keys of GET, those that say more are ignored
//   answer              {"taken": N, "kept": N, "expired": N, "unknown_service": N, "unknown_endpoint": N,
//                        "without_affinity": N, "no_room": N}        the sum is how many were sent
//
// taken: remembered from now on, that long ago. kept: the client is remembered already: what happens here is newer than
// what was elsewhere. expired: older than the service's timeout, inclusive as everywhere. no_room: the table pushes
// nobody out for them. A batch that cannot be read as a whole is refused as a whole. At most kMostEntries, so that the
// control thread is not held up for long. Names are those of the snapshot in force. Control thread only.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "lb/affinity/affinity.h"
#include "lb/affinity/affinity_text.h"
#include "lb/control/names.h"
#include "lb/control/query.h"
#include "lb/control/tables.h"

namespace limpet::control {

inline constexpr std::size_t kMostEntries = 1000;

/// What became of the entries of a batch, or of several.
struct BatchOutcome {
  std::size_t taken = 0;
  std::size_t kept = 0;
  std::size_t expired = 0;
  std::size_t unknown_service = 0;
  std::size_t unknown_endpoint = 0;
  std::size_t without_affinity = 0;
  std::size_t no_room = 0;
  BatchOutcome& operator+=(const BatchOutcome& other) noexcept;
};

nlohmann::ordered_json to_json(const BatchOutcome& outcome);
/// Counts that are missing are 0.
BatchOutcome outcome_from(const nlohmann::ordered_json& json);

/// The body of a request.
nlohmann::ordered_json to_json(std::span<const affinity::NamedEntry> entries);
/// The object of a list, as far as it names all that an entry has; nullopt if not (its service or endpoint has gone).
std::optional<affinity::NamedEntry> entry_from(const nlohmann::ordered_json& json);

/// Answers a request with this body.
Response take_batch(std::string_view body, const Names& names, Tables& tables);

}  // namespace limpet::control
