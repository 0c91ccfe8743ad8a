#include "conntrack/flow/flow_table.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <mutex>
#include <new>

namespace limpet::flow {

namespace {

/// IPv4 address and port in one word.
std::uint64_t packed(const net::AddressPort& end) noexcept {
  return end.address.words()[0] << 16 | end.port;
}

std::uint64_t bucket_count(std::uint32_t capacity) noexcept {
  return std::max<std::uint64_t>(std::bit_ceil(std::uint64_t{capacity} * kKeyRoles), 1024);
}

}  // namespace

FlowTable::FlowTable(const FlowTableOptions& options)
    : capacity_(std::clamp<std::uint32_t>(options.capacity, 1, Bucket::kMostLinks / kKeyRoles)),
      bucket_mask_(bucket_count(capacity_) - 1),
      key_(options.key),
      timeouts_(options.timeouts),
      record_memory_(sizeof(Flow) * capacity_),
      bucket_memory_(sizeof(Bucket) * (bucket_mask_ + 1)),
      records_(reinterpret_cast<Flow*>(record_memory_.data())),
      buckets_(new (bucket_memory_.data()) Bucket[bucket_mask_ + 1]) {}

std::uint64_t FlowTable::memory(std::uint32_t capacity) noexcept {
  return sizeof(Flow) * std::uint64_t{capacity} + sizeof(Bucket) * bucket_count(capacity);
}

FlowTable::~FlowTable() {
  std::destroy_n(records_, used_.load());
}

std::uint64_t FlowTable::hash(net::Protocol protocol, const net::AddressPort& a,
                              const net::AddressPort& b) const noexcept {
  const std::uint64_t number = static_cast<std::uint64_t>(protocol);
  if (a.address.is_v4()) {
    const auto [low, high] = std::minmax({packed(a), packed(b)});  // by value: a list, not references
    return store::siphash13(key_, std::array{low | number << 56, high});
  }
  const net::AddressPort& low = a < b ? a : b;
  const net::AddressPort& high = a < b ? b : a;
  const auto l = low.address.words();
  const auto h = high.address.words();
  return store::siphash13(key_, std::array{l[0], l[1], h[0], h[1],
                                           number << 32 | std::uint64_t{low.port} << 16 | std::uint64_t{high.port}});
}

std::uint64_t FlowTable::prefetch(const net::Tuple& tuple) const noexcept {
  const std::uint64_t h = hash(tuple.protocol, tuple.source, tuple.destination);
  __builtin_prefetch(&bucket(h), 1);
  return h;
}

void FlowTable::prefetch_flow(std::uint64_t prefetched) const noexcept {
  const std::uint32_t id = bucket(prefetched).peek();
  if (id == 0) return;
  const auto* line = reinterpret_cast<const std::byte*>(&records_[(id - 1) / kKeyRoles]);
  for (std::size_t offset = 0; offset < sizeof(Flow); offset += 64) __builtin_prefetch(line + offset, 1);
}

std::uint32_t FlowTable::search(std::uint32_t id, std::uint32_t tag, net::Protocol protocol, const net::AddressPort& a,
                                const net::AddressPort& b) const noexcept {
  while (id != 0) {
    const Flow& flow = records_[(id - 1) / kKeyRoles];
    const auto role = static_cast<KeyRole>((id - 1) % kKeyRoles);
    const Flow::Link& link = flow.links[static_cast<unsigned>(role)];
    if (link.tag == tag && flow.protocol == protocol) {
      const Ends ends = flow.ends(role);
      if ((ends.near == a && ends.far == b) || (ends.near == b && ends.far == a)) return id;
    }
    id = link.next;
  }
  return 0;
}

LockedFlow FlowTable::find(const net::Tuple& tuple) noexcept {
  const std::uint64_t h = hash(tuple.protocol, tuple.source, tuple.destination);
  for (;;) {
    std::uint32_t id = 0;
    std::uint32_t generation = 0;
    {
      Bucket::Guard chain(bucket(h));
      id = search(chain.head(), tag(h), tuple.protocol, tuple.source, tuple.destination);
      if (id == 0) return {};
      generation = records_[(id - 1) / kKeyRoles].generation.load(std::memory_order_relaxed);
    }
    const auto role = static_cast<KeyRole>((id - 1) % kKeyRoles);
    if (LockedFlow flow = relock({(id - 1) / static_cast<std::uint32_t>(kKeyRoles), generation}, role)) return flow;
  }
}

LockedFlow FlowTable::try_find(const net::Tuple& tuple) noexcept {
  const std::uint64_t h = hash(tuple.protocol, tuple.source, tuple.destination);
  Bucket::Guard chain(bucket(h));
  const std::uint32_t id = search(chain.head(), tag(h), tuple.protocol, tuple.source, tuple.destination);
  if (id == 0) return {};
  Flow& flow = records_[(id - 1) / kKeyRoles];
  if (!flow.lock.try_lock()) return {};
  return {flow, static_cast<KeyRole>((id - 1) % kKeyRoles)};
}

LockedFlow FlowTable::relock(const FlowRef& ref, KeyRole role) noexcept {
  Flow& flow = records_[ref.record];
  flow.lock.lock();
  if (flow.live && flow.generation.load(std::memory_order_relaxed) == ref.generation) return {flow, role};
  flow.lock.unlock();
  return {};
}

FlowTable::Create FlowTable::create(const net::Tuple& outer, LockedFlow& created) noexcept {
  Flow* flow = take();
  if (flow == nullptr) return Create::full;
  flow->start(outer.protocol);
  flow->client = flow->client_near = outer.source;
  flow->service = outer.destination;
  flow->live = true;
  created = LockedFlow(*flow, KeyRole::outer);
  if (link(*flow, KeyRole::outer)) return Create::created;
  remove(std::move(created));
  return Create::exists;
}

bool FlowTable::link(Flow& flow, KeyRole role) noexcept {
  const Ends ends = flow.ends(role);
  const std::uint64_t h = hash(flow.protocol, ends.near, ends.far);
  Bucket::Guard chain(bucket(h));
  if (search(chain.head(), tag(h), flow.protocol, ends.near, ends.far) != 0) return false;
  flow.links[static_cast<unsigned>(role)] = {chain.head(), tag(h)};
  flow.linked[static_cast<unsigned>(role)] = true;
  chain.head() = link_id(flow, role);
  return true;
}

void FlowTable::unlink(Flow& flow, KeyRole role) noexcept {
  if (!flow.linked[static_cast<unsigned>(role)]) return;
  const Ends ends = flow.ends(role);
  Bucket::Guard chain(bucket(hash(flow.protocol, ends.near, ends.far)));
  std::uint32_t* at = &chain.head();
  while (*at != link_id(flow, role)) at = &records_[(*at - 1) / kKeyRoles].links[(*at - 1) % kKeyRoles].next;
  *at = flow.links[static_cast<unsigned>(role)].next;
  flow.linked[static_cast<unsigned>(role)] = false;
}

void FlowTable::remove(LockedFlow&& locked) noexcept {
  Flow& flow = *locked;
  for (const KeyRole role : {KeyRole::inner, KeyRole::middle, KeyRole::outer}) unlink(flow, role);
  flow.live = false;
  flow.generation.fetch_add(1, std::memory_order_relaxed);
  locked.unlock();
  give_back(flow);
}

Flow* FlowTable::take() noexcept {
  Flow* flow = nullptr;
  {
    const std::lock_guard lock(free_lock_);
    if (free_ != 0) {
      flow = &records_[free_ - 1];
      free_ = flow->next_free;
    } else if (const std::uint32_t used = used_.load(std::memory_order_relaxed); used < capacity_) {
      flow = new (&records_[used]) Flow;
      used_.store(used + 1, std::memory_order_release);
    }
  }
  if (flow == nullptr) return nullptr;
  size_.fetch_add(1, std::memory_order_relaxed);
  flow->lock.lock();
  flow->egress = {};
  flow->endpoint = {};
  flow->endpoint_id = {};
  flow->affinity_scope = 0;
  return flow;
}

void FlowTable::give_back(Flow& flow) noexcept {
  size_.fetch_sub(1, std::memory_order_relaxed);
  const std::lock_guard lock(free_lock_);
  flow.next_free = free_;
  free_ = 1 + record_of(flow);
}

LockedFlow FlowTable::next_in_sweep() noexcept {
  const std::uint32_t used = used_.load(std::memory_order_acquire);
  if (used == 0) return {};
  Flow& flow = records_[cursor_.fetch_add(1, std::memory_order_relaxed) % used];
  if (!flow.lock.try_lock()) return {};
  if (flow.live) return {flow, KeyRole::outer};
  flow.lock.unlock();
  return {};
}

}  // namespace limpet::flow
