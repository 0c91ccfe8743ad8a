// scope_policies.h: scope → how long its clients are remembered, for up to 2^24 scopes.
//
//   directory [ page* × 4096 ] ─▶ page [ policy × 4096 ]     a page is made when one of its scopes is first set;
//                                                            scopes without one have the default, 10800 s, sliding
//
//   policy    fixed window 1 | timeout 31, in ms             one word: never seen half-changed
//
// set() is the control thread's and allocates; get() is two loads, any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "lb/affinity/affinity.h"

namespace limpet::affinity {

class ScopePolicies {
 public:
  /// As the packet path uses it.
  struct Packed {
    std::uint32_t word;
    bool sliding() const noexcept { return word >> 31 == 0; }
    bool in_time(std::uint32_t age_ms) const noexcept {
      const std::uint32_t timeout = word & 0x7fffffff;
      return timeout == 0 || age_ms <= timeout;
    }
  };

  ScopePolicies();
  ScopePolicies(const ScopePolicies&) = delete;
  ScopePolicies& operator=(const ScopePolicies&) = delete;
  ~ScopePolicies();

  /// scope < kScopes.
  void set(std::uint32_t scope, ScopePolicy policy);
  Packed get(std::uint32_t scope) const noexcept {
    const Page* const page = directory_[scope / kPage].load(std::memory_order_acquire);
    return {page == nullptr ? kDefault : (*page)[scope % kPage].load(std::memory_order_relaxed)};
  }

 private:
  static constexpr std::uint32_t kPage = 4096;
  static constexpr std::uint32_t kDefault = 10'800'000;
  using Page = std::array<std::atomic<std::uint32_t>, kPage>;

  std::unique_ptr<std::atomic<Page*>[]> directory_;
};

}  // namespace limpet::affinity
