// store_fixture.h: what typed tests of every AffinityStore begin with.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

#include <gtest/gtest.h>

#include "lb/affinity/affinity_table.h"
#include "lb/affinity/tbb_affinity_table.h"
#include "tests/unit/affinity/fixture.h"

namespace limpet::affinity {

template <AffinityStore Store>
class Affinity : public testing::Test {
 protected:
  /// A table whose kScope remembers so long.
  struct Table : Store {
    explicit Table(std::uint32_t capacity, Seconds timeout = Seconds{10800}, bool sliding = true)
        : Store(options(capacity)) {
      remember_for(timeout, sliding);
    }
    void remember_for(Seconds timeout, bool sliding = true) { this->set_scope(kScope, {timeout, sliding}); }
  };

  /// Who of `clients` is remembered, under scopes that `scope_of(n)` says.
  template <typename ScopeOf>
  static std::vector<std::uint32_t> remembered(Table& table, std::uint32_t clients, ScopeOf&& scope_of) {
    std::vector<std::uint32_t> found;
    for (std::uint32_t n = 1; n <= clients; ++n) {
      table.set_scope(scope_of(n), {.timeout = Seconds{0}});
      if (table.find(client(n, scope_of(n)), ms(0))) found.push_back(n);
    }
    return found;
  }
  static std::vector<std::uint32_t> remembered(Table& table, std::uint32_t clients) {
    return remembered(table, clients, [](std::uint32_t) { return kScope; });
  }
};

using Stores = testing::Types<AffinityTable, TbbAffinityTable>;
struct StoreNames {
  template <typename Store>
  static std::string GetName(int) {
    return std::is_same_v<Store, AffinityTable> ? "Flat" : "Tbb";
  }
};

}  // namespace limpet::affinity
