// cow_map.h: a hash map that is cheap to copy and to change by a little: copies share all that the change leaves alone.
//
//   map ──▶ root [64] ──▶ branch [64] ──▶ leaf: open addressing, linear probing, at most three quarters full
//           hash bits 0-5        6-11           the rest
//
//   copy            one pointer
//   set, erase      on a copy: the root, one branch and one leaf of it are made anew, whoever else uses the old ones keeps
//                   them. A node that nobody shares is changed in place: so a map is built at the speed of a plain one
//   find            three hops and a probe, whatever the size: a map with one key and a map with 100,000 cost the same
//                   while what is asked for is in the cache
//
// Good for up to about a million keys (4,096 leaves). Any number of threads may read one map, or copy it; who changes one
// has it alone. Nodes are counted (shared_ptr): the last map to go frees them, so see that it goes on the right thread.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace limpet::service {

/// `Hash` need not spread its bits, only tell keys apart. Key and Value are default constructible and copyable.
template <typename Key, typename Value, typename Hash>
class CowMap {
 public:
  /// nullptr: there is none. Valid while this map, or a copy made before it changed, is there.
  const Value* find(const Key& key) const noexcept {
    const std::size_t hash = spread(key);
    if (!root_) return nullptr;
    const Branch* const branch = root_->at[hash % kFan].get();
    if (branch == nullptr) return nullptr;
    const Leaf* const leaf = branch->at[hash / kFan % kFan].get();
    return leaf == nullptr ? nullptr : leaf->find(key, hash);
  }
  bool contains(const Key& key) const noexcept { return find(key) != nullptr; }
  std::size_t size() const noexcept { return size_; }

  /// Adds it, or replaces what is there.
  void set(const Key& key, Value value) {
    const std::size_t hash = spread(key);
    Leaf& leaf = own(own(own(root_).at[hash % kFan]).at[hash / kFan % kFan]);
    size_ += leaf.set(key, std::move(value), hash) ? 1 : 0;
  }
  /// False: there was none.
  bool erase(const Key& key) {
    if (!contains(key)) return false;  // and nothing is made anew
    const std::size_t hash = spread(key);
    own(own(own(root_).at[hash % kFan]).at[hash / kFan % kFan]).erase(key, hash);
    --size_;
    return true;
  }

  /// Calls visit(key, value) for each, in no order.
  template <typename Visit>
  void for_each(Visit&& visit) const {
    if (!root_) return;
    for (const auto& branch : root_->at) {
      if (!branch) continue;
      for (const auto& leaf : branch->at) {
        if (leaf) leaf->for_each(visit);
      }
    }
  }

 private:
  static constexpr std::size_t kFan = 64;

  /// Every bit of the key's hash in every bit.
  static std::size_t spread(const Key& key) noexcept {
    std::uint64_t hash = Hash{}(key);
    hash = (hash ^ hash >> 32) * 0xd6e8feb86659fd93;
    return static_cast<std::size_t>(hash ^ hash >> 32);
  }

  class Leaf {
   public:
    const Value* find(const Key& key, std::size_t hash) const noexcept {
      if (slots_.empty()) return nullptr;
      for (std::size_t i = home(hash);; i = next(i)) {
        const Slot& slot = slots_[i];
        if (!slot.used) return nullptr;
        if (slot.key == key) return &slot.value;
      }
    }
    /// True: it is new.
    bool set(const Key& key, Value&& value, std::size_t hash) {
      if (used_ + 1 > slots_.size() / 4 * 3) grow();
      std::size_t i = home(hash);
      while (slots_[i].used && !(slots_[i].key == key)) i = next(i);
      const bool fresh = !slots_[i].used;
      slots_[i] = {key, std::move(value), true};
      used_ += fresh ? 1 : 0;
      return fresh;
    }
    /// It is there. What stands behind it in its run moves up.
    void erase(const Key& key, std::size_t hash) {
      std::size_t hole = home(hash);
      while (!(slots_[hole].key == key)) hole = next(hole);
      for (std::size_t i = next(hole); slots_[i].used; i = next(i)) {
        const std::size_t distance = (i - home(spread(slots_[i].key))) & (slots_.size() - 1);
        if (distance < ((i - hole) & (slots_.size() - 1))) continue;
        slots_[hole] = std::move(slots_[i]);
        hole = i;
      }
      slots_[hole] = {};
      --used_;
    }
    template <typename Visit>
    void for_each(Visit&& visit) const {
      for (const Slot& slot : slots_) {
        if (slot.used) visit(slot.key, slot.value);
      }
    }

   private:
    struct Slot {
      Key key{};
      Value value{};
      bool used = false;
    };
    std::size_t home(std::size_t hash) const noexcept { return hash / (kFan * kFan) & (slots_.size() - 1); }
    std::size_t next(std::size_t i) const noexcept { return (i + 1) & (slots_.size() - 1); }
    void grow() {
      std::vector<Slot> old(slots_.empty() ? 4 : slots_.size() * 2);
      old.swap(slots_);
      used_ = 0;
      for (Slot& slot : old) {
        if (slot.used) set(slot.key, std::move(slot.value), spread(slot.key));
      }
    }

    std::vector<Slot> slots_;  // a power of two
    std::size_t used_ = 0;
  };
  struct Branch {
    std::array<std::shared_ptr<Leaf>, kFan> at;
  };
  struct Root {
    std::array<std::shared_ptr<Branch>, kFan> at;
  };

  /// The node, which from here on nobody shares. A count of one cannot grow meanwhile: the only pointer is ours.
  template <typename Node>
  static Node& own(std::shared_ptr<Node>& node) {
    if (!node) {
      node = std::make_shared<Node>();
    } else if (node.use_count() != 1) {
      node = std::make_shared<Node>(*node);
    }
    return *node;
  }

  std::shared_ptr<Root> root_;
  std::size_t size_ = 0;
};

}  // namespace limpet::service
