#include "lb/affinity/scope_policies.h"

namespace limpet::affinity {
namespace {

std::uint32_t packed(ScopePolicy policy) noexcept {
  static_assert(Milliseconds(ScopePolicy::kLongest).count() < std::int64_t{1} << 31);
  const Milliseconds timeout = std::clamp(policy.timeout, Seconds::zero(), ScopePolicy::kLongest);
  return static_cast<std::uint32_t>(timeout.count()) | (policy.sliding ? 0U : 1U << 31);
}

}  // namespace

ScopePolicies::ScopePolicies() : directory_(new std::atomic<Page*>[kScopes / kPage]()) {}

ScopePolicies::~ScopePolicies() {
  for (std::uint32_t i = 0; i < kScopes / kPage; ++i) delete directory_[i].load();
}

void ScopePolicies::set(std::uint32_t scope, ScopePolicy policy) {
  std::atomic<Page*>& entry = directory_[scope / kPage];
  Page* page = entry.load(std::memory_order_relaxed);
  if (page == nullptr) {
    page = new Page;
    for (std::atomic<std::uint32_t>& word : *page) word.store(kDefault, std::memory_order_relaxed);
    entry.store(page, std::memory_order_release);
  }
  (*page)[scope % kPage].store(packed(policy), std::memory_order_relaxed);
}

}  // namespace limpet::affinity
