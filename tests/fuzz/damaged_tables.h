// damaged_tables.h: affinities and names in memory that anything may have been written to, for state_fuzz.cpp.
//
// What a process can have left is a table in which the shards whose lock was held are torn. Of those recover() makes
// sound ones whatever stands in them. Of damage anywhere else is asked no more than of the whole file: no access outside,
// an end to every call, and an endpoint that was chosen or stood there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lb/affinity/affinity_table.h"
#include "lb/service/identities.h"
#include "tests/fuzz/require.h"

namespace limpet::fuzz {

/// [offset 24 | byte] …, offsets modulo what there is.
inline void damage(std::span<std::byte> bytes, std::span<const std::uint8_t> edits) {
  for (; edits.size() >= 4; edits = edits.subspan(4)) {
    const std::size_t offset = edits[0] | std::size_t{edits[1]} << 8 | std::size_t{edits[2]} << 16;
    bytes[offset % bytes.size()] = std::byte{edits[3]};
  }
}

// ---- affinities ----

inline const affinity::AffinityOptions kAffinities{.capacity_v4 = 600, .capacity_v6 = 12, .key = {1, 2}, .epoch = {}};
constexpr flow::Instant kThen{flow::Milliseconds{1000}}, kNow{flow::Milliseconds{5000}};

inline affinity::Key affinity_key(std::uint32_t n, bool v6 = false) {
  std::array<std::uint32_t, 4> words{0xfd, n, n, n};
  return {1 + n % 3, v6 ? net::Address::from_wire(net::Family::v6, reinterpret_cast<const std::byte*>(words.data()))
                        : net::Address::from_v4(0x0a000000 + n)};
}

/// A process that was killed in every shard at once.
inline void hold_every_lock(std::span<std::byte> bytes) {
  using V4 = store::FlatTable<affinity::EntryV4>;
  constexpr std::size_t kHead = 64, kShard = 64;  // affinity_table.h, flat_table.h
  const store::TableShape v4 = V4::shape_of(kAffinities.capacity_v4, kAffinities.workers);
  const store::TableShape v6 =
      store::FlatTable<affinity::EntryV6>::shape_of(kAffinities.capacity_v6, kAffinities.workers);
  for (std::size_t i = 0; i < v4.shards; ++i) bytes[kHead + i * kShard] = std::byte{1};
  for (std::size_t i = 0; i < v6.shards; ++i) bytes[kHead + V4::memory(v4) + i * kShard] = std::byte{1};
}

/// Each entry stands there once, and is found.
inline void require_sound(const affinity::AffinityTable& table) {
  std::set<std::pair<std::uint32_t, net::Address>> seen;
  for (affinity::Cursor cursor; !cursor.at_end();) {
    cursor = table.visit(cursor, 100, kNow, [&](const affinity::EntryView& entry) {
      require(seen.emplace(entry.key.scope, entry.key.client).second, "an entry is there once");
      require(entry.expired || table.find(entry.key, kNow) == entry.endpoint, "an entry in time is found");
    });
  }
  require(table.counts().entries == seen.size(), "entries are counted");
}

/// Clients that nobody knew are given what was chosen for them.
inline void serve(affinity::AffinityTable& table) {
  constexpr std::uint32_t kChosen = 0xc0ffee;
  for (std::uint32_t n = 10'000; n < 11'500; ++n) {
    const affinity::Key key = affinity_key(n, n % 50 == 0);
    const auto known = table.find(key, kNow);
    const auto given = table.get_or_assign(
        key, kNow, [](std::uint32_t) { return true; }, [] { return kChosen; });
    require(given.endpoint == known.value_or(kChosen), "the remembered endpoint, or the chosen one");
    table.confirm(key, given.endpoint, kNow);
    table.refresh(key, given.endpoint, kNow);
    require(table.put_if_absent(key, 7, kThen, true, kNow) != affinity::Put::taken, "who was served is remembered");
  }
}

inline void fuzz_affinities(bool killed, std::span<const std::uint8_t> edits) {
  struct alignas(64) Line {
    std::byte bytes[64];
  };
  static_assert(sizeof(Line) == 64);
  const std::size_t size = affinity::AffinityTable::memory(kAffinities);
  require(size % sizeof(Line) == 0, "it ends where its memory does");
  std::vector<Line> memory(size / sizeof(Line));
  const std::span<std::byte> bytes = std::as_writable_bytes(std::span(memory));
  {
    affinity::AffinityTable before(kAffinities, bytes);
    for (std::uint32_t n = 0; n < 300; ++n) before.put(affinity_key(n), 100 + n, kThen, n % 2 == 0);
    for (std::uint32_t n = 0; n < 10; ++n) before.put(affinity_key(n, true), 100 + n, kThen, n % 2 == 0);
    before.sweep(1, kThen);
  }
  damage(bytes, edits);
  if (killed) hold_every_lock(bytes);
  affinity::AffinityTable after(kAffinities, bytes);
  after.set_scope(1, {.timeout = flow::Seconds{0}});
  after.recover(kNow);
  if (killed) require_sound(after);
  serve(after);
  after.sweep(after.slots(), kNow);
  for (std::uint32_t n = 0; n < 300; ++n) after.erase(affinity_key(n));
  after.erase_all();
}

// ---- names ----

inline std::vector<service::Service> named_services(std::size_t count, std::uint16_t first_port) {
  std::vector<service::Service> services(count);
  for (std::size_t i = 0; i < count; ++i) {
    services[i].name = "t/s" + std::to_string(i) + ":p";
    services[i].affinity_timeout = flow::Seconds{10};
    if (i > 0) services[i].affinity_group = "service t";
    for (std::uint16_t port = first_port; port < first_port + 2; ++port) {
      services[i].endpoints.push_back({{net::Address::from_v4(0x0a020001 + port), port}, {}, 1});
    }
  }
  return services;
}

class Named {
 public:
  static constexpr service::IdentityLimits kLimits{16, 4};

  /// Each time by another process, all of them in the same memory.
  store::Result<std::vector<service::ServiceIds>> assign(const std::vector<service::Service>& services) {
    datapath::EndpointSlots slots(kLimits.endpoints);
    service::Identities identities(slots, kLimits, {3, 4}, bytes());
    return identities.assign(services);
  }
  std::span<std::byte> bytes() noexcept { return std::as_writable_bytes(std::span(words_)); }

 private:
  std::vector<std::uint64_t> words_ = std::vector<std::uint64_t>(service::Identities::memory(kLimits) / 8);
};

/// No two endpoints of a list share an id or a slot, no two scopes a number.
inline void require_distinct(std::span<const service::ServiceIds> all) {
  std::set<std::uint32_t> slots, ids;
  for (const service::ServiceIds& one : all) {
    for (const datapath::EndpointId& id : one.endpoints) {
      require(id.slot < Named::kLimits.endpoints && slots.insert(id.slot).second, "a slot has one owner");
      require(id.id != 0 && ids.insert(id.id).second, "an id has one owner");
    }
  }
  for (std::size_t i = 1; i < all.size(); ++i) {  // all of these in one scope, by address
    require(all[i].affinity_ids == all[1].affinity_ids, "an address has one id");
    require(all[i].affinity_scope == all[1].affinity_scope, "a scope has one number");
    for (const std::uint32_t id : all[i].affinity_ids) require(!ids.contains(id), "an address is no endpoint");
  }
  for (const service::ServiceIds& one : all) {
    require(one.affinity_scope != 0 && one.affinity_scope < affinity::kScopes, "a scope has 24 bits");
  }
  require(all.size() < 2 || all[0].affinity_scope != all[1].affinity_scope, "two scopes have two numbers");
}

inline void fuzz_names(std::span<const std::uint8_t> edits) {
  Named names;
  require(static_cast<bool>(names.assign(named_services(3, 80))), "the sample is made");
  damage(names.bytes(), edits);
  const auto found = names.assign(named_services(3, 80));
  if (!found)
    return require(found.error().message.find("used up") != std::string::npos, "but for numbers there is room");
  require_distinct(*found);
  const auto again = names.assign(named_services(3, 80));
  require(
      again && (*again)[0].endpoints == (*found)[0].endpoints && (*again)[2].affinity_ids == (*found)[2].affinity_ids,
      "a name is kept");
  const auto others = names.assign(named_services(3, 90));
  if (!others) return require(others.error().message.find("used up") != std::string::npos, "what is gone makes room");
  require_distinct(*others);
  for (const datapath::EndpointId& id : (*others)[0].endpoints) {
    for (const datapath::EndpointId& old : (*found)[0].endpoints) require(id.id > old.id, "an id is never used again");
  }
}

}  // namespace limpet::fuzz
