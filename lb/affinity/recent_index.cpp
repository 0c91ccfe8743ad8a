#include "lb/affinity/recent_index.h"

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>

#include "lb/affinity/recent_table.h"

namespace limpet::affinity {

RecentIndex::RecentIndex(std::vector<std::shared_ptr<RecentTable>> lists, const store::HashKey& key)
    : key_(key), lists_(std::move(lists)) {
  std::size_t slots = 0;
  for (const auto& list : lists_) {
    nodes_.push_back(LazyArray<Node>::zeroed(list->bound()));
    slots += list->bound();
  }
  for (Shard& shard : shards_) shard.buckets = LinearBuckets<Node*>(slots / kShards + 1, nullptr);
  for (std::uint32_t i = 0; i < lists_.size(); ++i) lists_[i]->watch(*this, i);
}

RecentIndex::~RecentIndex() {
  for (const auto& list : lists_) list->unwatch(*this);
}

std::uint64_t RecentIndex::hash(const net::Address& address) const noexcept {
  const auto words = address.words();
  return store::siphash13(key_, std::array{words[0], words[1], std::uint64_t(address.family())});
}

std::uint32_t RecentIndex::first(const net::Address& address, std::uint32_t from) const noexcept {
  const std::uint64_t hashed = hash(address);
  const Shard& shard = this->shard(hashed);
  std::uint32_t found = kNone;
  const std::lock_guard guard(shard.lock);
  for (const Node* node = shard.buckets[hashed]; node != nullptr; node = node->next) {
    if (node->hash == hashed && node->list >= from) found = std::min(found, node->list);
  }
  return found;
}

void RecentIndex::push(Node*& bucket, Node& node) noexcept {
  node.next = bucket;
  node.link = &bucket;
  if (bucket != nullptr) bucket->link = &node.next;
  bucket = &node;
}

void RecentIndex::split(Node*& from, Node*& to, std::size_t bit) noexcept {
  for (Node* node = std::exchange(from, nullptr); node != nullptr;) {
    Node* const next = node->next;
    push((node->hash & bit) != 0 ? to : from, *node);
    node = next;
  }
}

void RecentIndex::add(std::uint32_t list, std::uint32_t slot, const net::Address& address) noexcept {
  Node& node = nodes_[list][slot];
  const std::uint64_t hashed = hash(address);
  Shard& shard = this->shard(hashed);
  const std::lock_guard guard(shard.lock);
  if (node.link != nullptr) return;
  node.hash = hashed;
  node.list = list;
  if (++shard.entries > shard.buckets.count()) shard.buckets.grow(split);
  push(shard.buckets[hashed], node);
}

void RecentIndex::remove(std::uint32_t list, std::uint32_t slot) noexcept {
  Node& node = nodes_[list][slot];
  Shard& shard = this->shard(node.hash);
  const std::lock_guard guard(shard.lock);
  if (node.link == nullptr) return;
  *node.link = node.next;
  if (node.next != nullptr) node.next->link = node.link;
  node.link = nullptr;
  --shard.entries;
}

}  // namespace limpet::affinity
