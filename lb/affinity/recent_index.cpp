#include "lb/affinity/recent_index.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "lb/affinity/recent_table.h"

namespace limpet::affinity {

std::size_t RecentIndex::Hash::operator()(const net::Address& address) const noexcept {
  const auto words = address.words();
  return static_cast<std::size_t>(
      store::siphash13(key, std::array{words[0], words[1], std::uint64_t(address.family())}));
}

RecentIndex::RecentIndex(std::vector<std::shared_ptr<RecentTable>> lists, const store::HashKey& key)
    : hash_{key}, lists_(std::move(lists)) {
  for (Shard& shard : shards_) shard.entries = decltype(shard.entries)(16, hash_);
  for (std::uint32_t i = 0; i < lists_.size(); ++i) lists_[i]->watch(*this, i);
}

RecentIndex::~RecentIndex() {
  for (const auto& list : lists_) list->unwatch(*this);
}

std::uint32_t RecentIndex::first(const net::Address& address, std::uint32_t from) const {
  const Shard& shard = this->shard(address);
  std::uint32_t found = kNone;
  const std::lock_guard guard(shard.lock);
  const auto [begin, end] = shard.entries.equal_range(address);
  for (auto entry = begin; entry != end; ++entry) {
    if (entry->second >= from) found = std::min(found, entry->second);
  }
  return found;
}

void RecentIndex::add(const net::Address& address, std::uint32_t list) {
  Shard& shard = this->shard(address);
  const std::lock_guard guard(shard.lock);
  shard.entries.emplace(address, list);
}

void RecentIndex::remove(const net::Address& address, std::uint32_t list) {
  Shard& shard = this->shard(address);
  const std::lock_guard guard(shard.lock);
  const auto [begin, end] = shard.entries.equal_range(address);
  const auto entry = std::find_if(begin, end, [&](const auto& e) { return e.second == list; });
  if (entry != end) shard.entries.erase(entry);
}

}  // namespace limpet::affinity
