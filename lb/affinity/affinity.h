// affinity.h: the words in which affinity is spoken of: whose, for how long, what came of it.
//
//   Key          (scope, client): a scope is a service port, or what shares its clients; 1 to 2^24 - 1. The client is
//                masked by the caller
//   endpoint     32 bits that name an endpoint for ever (EndpointId::id, never reused)
//   ScopePolicy  how long a scope remembers. Read at lookup, as kube-proxy's rules do: a changed policy holds for
//                clients that are known already
//   Outcome      miss      not remembered
//                hit       remembered, now - stamp <= timeout (inclusive, to the millisecond), and its endpoint is
//                          still selectable
//                expired   remembered, but too long ago
//                moved     remembered in time, but its endpoint may no longer be chosen
//
// What has expired is not refreshed back to life, and a window that does not slide is not refreshed at all.
// An entry is provisional until its client has answered the endpoint (confirm); a fresh choice is provisional again.
// AffinityStore is the concept: AffinityTable is what runs, TbbAffinityTable is its oracle in tests and its opponent in
// benchmarks.
#pragma once

#include <algorithm>
#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "conntrack/flow/instant.h"
#include "conntrack/net/address.h"
#include "conntrack/store/siphash.h"

namespace limpet::affinity {

using flow::Instant;
using flow::Milliseconds;
using flow::Seconds;

/// The most threads that may look up at once.
inline constexpr unsigned kMostWorkers = 256;
/// Scopes have 24 bits: the entry's layout.
inline constexpr std::uint32_t kScopes = 1U << 24;

struct Key {
  std::uint32_t scope = 0;
  net::Address client;
  friend bool operator==(const Key&, const Key&) noexcept = default;
};

/// SipHash-1-3 of a key: one word for IPv4, three for IPv6.
inline std::uint64_t hash(const store::HashKey& secret, std::uint32_t scope, std::uint32_t client_v4) noexcept {
  return store::siphash13(secret, std::array{std::uint64_t{scope} << 32 | client_v4});
}
inline std::uint64_t hash(const store::HashKey& secret, std::uint32_t scope,
                          const std::array<std::uint64_t, 2>& client_v6) noexcept {
  return store::siphash13(secret, std::array{client_v6[0], client_v6[1], std::uint64_t{scope}});
}
inline std::uint64_t hash(const store::HashKey& secret, const Key& key) noexcept {
  const auto words = key.client.words();
  if (key.client.is_v4()) return hash(secret, key.scope, static_cast<std::uint32_t>(words[0]));
  return hash(secret, key.scope, words);
}

struct ScopePolicy {
  static constexpr Seconds kLongest{24 * 86400};  // what 32-bit stamps can tell apart; longer ones count as this

  Seconds timeout{10800};  // 0: never expires
  bool sliding = true;     // from the last new connection; false: from the assignment
};

/// By a timeout of which 0 means never; inclusive: at the timeout itself it holds.
constexpr bool has_expired(Milliseconds age, Seconds timeout) noexcept {
  return timeout != Seconds::zero() && age > timeout;
}

enum class Outcome : std::uint8_t { miss, hit, expired, moved };

struct Assignment {
  std::uint32_t endpoint = 0;
  Outcome outcome = Outcome::miss;
};

/// What became of an entry that comes from elsewhere: remembered now; its client is remembered already, and in time; or
/// there is no room, for nobody is pushed out.
enum class Put : std::uint8_t { taken, kept, no_room };

struct AffinityOptions {
  std::uint32_t capacity_v4 = 1'000'000;  // entries, at least 1
  std::uint32_t capacity_v6 = 1;
  store::HashKey key{};  // secret; of a file, drawn when it was made
  Instant epoch{};       // stamps count from here; of a file, when it was made
  /// Threads that look up at once, at most. It sets the number of shards, and so what a file looks like: never from a
  /// setting that the next start may change.
  unsigned workers = kMostWorkers;
};

/// Counted since the table was made.
struct AffinityCounts {
  std::uint64_t entries = 0;
  std::uint64_t provisional = 0;  // of them
  std::uint64_t capacity = 0;
  std::uint64_t evicted_expired = 0;
  std::uint64_t evicted_provisional = 0;
  std::uint64_t evicted_confirmed = 0;
  std::uint64_t swept = 0;  // expired entries that sweep() took out
};

template <typename T>
concept AffinityStore = std::constructible_from<T, const AffinityOptions&> &&
    requires(T& table, const T& view, const Key& key, Instant now, std::uint32_t endpoint,
             bool (*selectable)(std::uint32_t), std::uint32_t (*pick)()) {
  table.set_scope(key.scope, ScopePolicy{});
  { table.get_or_assign(key, now, selectable, pick) } -> std::same_as<Assignment>;
  { view.find(key, now) } -> std::same_as<std::optional<std::uint32_t>>;
  table.confirm(key, endpoint, now);
  table.refresh(key, endpoint, now);
  { table.erase(key) } -> std::same_as<bool>;
  { view.counts() } -> std::same_as<AffinityCounts>;
};

}  // namespace limpet::affinity
