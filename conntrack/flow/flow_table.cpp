#include "conntrack/flow/flow_table.h"

#include <algorithm>
#include <bit>
#include <memory>
#include <mutex>
#include <new>
#include <stdexcept>
#include <utility>

namespace limpet::flow {

namespace {

/// IPv4 address and port in one word.
std::uint64_t packed(const net::AddressPort& end) noexcept {
  return end.address.words()[0] << 16 | end.port;
}

std::uint32_t within_limits(std::uint32_t capacity) noexcept {
  return std::clamp<std::uint32_t>(capacity, 1, Bucket::kMostLinks / kKeyRoles);
}

std::uint64_t bucket_count(std::uint32_t capacity) noexcept {
  return std::max<std::uint64_t>(std::bit_ceil(std::uint64_t{within_limits(capacity)} * kKeyRoles), 1024);
}

/// What stands before goes into memory before what comes after: for who reads it when this process has been killed.
void keep_order() noexcept {
  std::atomic_signal_fence(std::memory_order_seq_cst);
}

bool joins(const Ends& ends, const net::AddressPort& a, const net::AddressPort& b) noexcept {
  return (ends.near == a && ends.far == b) || (ends.near == b && ends.far == a);
}

bool is_in_use(const Flow& flow) noexcept {
  const Phase phase = flow.phase.load(std::memory_order_relaxed);
  return phase == Phase::begun || phase == Phase::live;
}

}  // namespace

FlowTable::FlowTable(const FlowTableOptions& options, std::span<std::byte> memory)
    : capacity_(within_limits(options.capacity)),
      bucket_mask_(static_cast<std::uint32_t>(bucket_count(capacity_) - 1)),
      key_(options.key),
      timeouts_(options.timeouts),
      header_(reinterpret_cast<Header*>(memory.data())),
      buckets_(reinterpret_cast<Bucket*>(memory.data() + sizeof(Header))),
      records_(reinterpret_cast<Flow*>(buckets_ + bucket_mask_ + 1)) {
  if (memory.size() < FlowTable::memory(options.capacity)) throw std::length_error("flow table: too little memory");
}

FlowTable::FlowTable(const FlowTableOptions& options)
    : FlowTable(options, std::make_unique<store::ZeroedMemory>(memory(options.capacity))) {}

FlowTable::FlowTable(const FlowTableOptions& options, std::unique_ptr<store::ZeroedMemory> own)
    : FlowTable(options, std::span(own->data(), memory(options.capacity))) {
  own_memory_ = std::move(own);
}

std::uint64_t FlowTable::memory(std::uint32_t capacity) noexcept {
  const std::uint64_t records = within_limits(capacity);
  return sizeof(Header) + sizeof(Bucket) * bucket_count(capacity) + sizeof(Flow) * records;
}

std::string FlowTable::layout() {
  return "flows 1: header " + std::to_string(sizeof(Header)) + ", bucket " + std::to_string(sizeof(Bucket)) +
         ", record " + std::to_string(sizeof(Flow)) + ", tcp " + std::to_string(sizeof(TcpTracker)) + ", sctp " +
         std::to_string(sizeof(SctpTracker));
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
  const std::uint64_t h = hash(tuple);
  __builtin_prefetch(&bucket(tag(h)));
  return h;
}

void FlowTable::prefetch_links(std::uint64_t hash) const noexcept {
  if (const std::uint32_t id = bucket(tag(hash)).peek()) __builtin_prefetch(&record_of(id), 1);
}

void FlowTable::prefetch_flow(std::uint64_t hash) const noexcept {
  std::uint32_t id = bucket(tag(hash)).peek();
  if (id == 0) return;
  const Flow::Link& link = link_at(id);
  if (link.tag.load(std::memory_order_relaxed) != tag(hash)) {  // one in five is the second of its chain
    id = link.next.load(std::memory_order_relaxed);
    if (id == 0) return;
    __builtin_prefetch(&record_of(id), 1);
  }
  const auto* line = reinterpret_cast<const std::byte*>(&record_of(id));
  for (std::size_t offset = 64; offset < sizeof(Flow); offset += 64) __builtin_prefetch(line + offset, 1);
}

std::uint32_t FlowTable::search(std::uint32_t id, std::uint32_t tag, net::Protocol protocol, const net::AddressPort& a,
                                const net::AddressPort& b) const noexcept {
  while (id != 0) {
    const Flow& flow = record_of(id);
    const Flow::Link& link = link_at(id);
    if (link.tag.load(std::memory_order_relaxed) == tag && flow.protocol == protocol) {
      if (joins(flow.ends(static_cast<KeyRole>((id - 1) % kKeyRoles)), a, b)) return id;
    }
    id = link.next.load(std::memory_order_relaxed);
  }
  return 0;
}

LockedFlow FlowTable::find(const net::Tuple& tuple, std::uint64_t hash) noexcept {
  if (LockedFlow flow = find_by_tag(tuple, tag(hash))) [[likely]]
    return flow;
  for (;;) {
    std::uint32_t id = 0;
    std::uint32_t generation = 0;
    {
      Bucket::Guard chain(bucket(tag(hash)));
      id = search(chain.head(), tag(hash), tuple.protocol, tuple.source, tuple.destination);
      if (id == 0) return {};
      generation = record_of(id).generation.load(std::memory_order_relaxed);
    }
    const auto role = static_cast<KeyRole>((id - 1) % kKeyRoles);
    if (LockedFlow flow = relock({(id - 1) / static_cast<std::uint32_t>(kKeyRoles), generation}, role)) return flow;
  }
}

/// Walks the chain as it happens to be, which may change underfoot: what is found is proved under its record's lock.
LockedFlow FlowTable::find_by_tag(const net::Tuple& tuple, std::uint32_t tag) const noexcept {
  std::uint32_t id = bucket(tag).peek();
  for (unsigned hop = 0; id != 0 && hop < kMostHops; ++hop) {
    const Flow::Link& link = link_at(id);
    if (link.tag.load(std::memory_order_relaxed) == tag) {
      Flow& flow = record_of(id);
      const auto role = static_cast<KeyRole>((id - 1) % kKeyRoles);
      flow.lock.lock();
      if (is_in_use(flow) && flow.linked[static_cast<unsigned>(role)] && flow.protocol == tuple.protocol &&
          joins(flow.ends(role), tuple.source, tuple.destination)) {
        return {flow, role};
      }
      flow.lock.unlock();
    }
    id = link.next.load(std::memory_order_acquire);
  }
  return {};
}

LockedFlow FlowTable::try_find(const net::Tuple& tuple) noexcept {
  const std::uint64_t h = hash(tuple);
  Bucket::Guard chain(bucket(tag(h)));
  const std::uint32_t id = search(chain.head(), tag(h), tuple.protocol, tuple.source, tuple.destination);
  if (id == 0) return {};
  Flow& flow = record_of(id);
  if (!flow.lock.try_lock()) return {};
  return {flow, static_cast<KeyRole>((id - 1) % kKeyRoles)};
}

LockedFlow FlowTable::relock(const FlowRef& ref, KeyRole role) noexcept {
  Flow& flow = records_[ref.record];
  flow.lock.lock();
  // A creation that nobody has committed, and whose lock is free, is found like any other.
  if (is_in_use(flow) && flow.generation.load(std::memory_order_relaxed) == ref.generation) return {flow, role};
  flow.lock.unlock();
  return {};
}

FlowTable::Create FlowTable::create(const net::Tuple& outer, LockedFlow& created) noexcept {
  Flow* flow = take();
  if (flow == nullptr) return Create::full;
  flow->start(outer.protocol);
  flow->client = flow->client_near = outer.source;
  flow->service = outer.destination;
  flow->phase.store(Phase::begun, std::memory_order_release);
  created = LockedFlow(*flow, KeyRole::outer);
  if (link(*flow, KeyRole::outer)) return Create::created;
  remove(std::move(created));
  return Create::exists;
}

bool FlowTable::link(Flow& flow, KeyRole role) noexcept {
  const auto r = static_cast<unsigned>(role);
  const Ends ends = flow.ends(role);
  const std::uint64_t h = hash(flow.protocol, ends.near, ends.far);
  Bucket::Guard chain(bucket(tag(h)));
  if (search(chain.head(), tag(h), flow.protocol, ends.near, ends.far) != 0) return false;
  flow.links[r].next.store(chain.head(), std::memory_order_release);
  flow.links[r].tag.store(tag(h), std::memory_order_relaxed);
  keep_order();
  flow.linked[r] = true;  // from here on recovery takes ends and tag for granted
  chain.head() = link_id(flow, role);
  return true;  // unlocking the bucket publishes the head
}

void FlowTable::unlink(Flow& flow, KeyRole role) noexcept {
  const auto r = static_cast<unsigned>(role);
  if (!flow.linked[r]) return;
  Bucket::Guard chain(bucket(flow.links[r].tag.load(std::memory_order_relaxed)));
  const std::uint32_t own = link_id(flow, role);
  const std::uint32_t next = flow.links[r].next.load(std::memory_order_relaxed);
  if (chain.head() == own) {
    chain.head() = next;
  } else {
    std::uint32_t before = chain.head();
    while (link_at(before).next.load(std::memory_order_relaxed) != own) {
      before = link_at(before).next.load(std::memory_order_relaxed);
    }
    link_at(before).next.store(next, std::memory_order_release);
  }
  flow.linked[r] = false;
}

void FlowTable::remove(LockedFlow&& locked) noexcept {
  Flow& flow = *locked;
  flow.phase.store(Phase::ending, std::memory_order_release);
  keep_order();
  for (const KeyRole role : {KeyRole::inner, KeyRole::middle, KeyRole::outer}) unlink(flow, role);
  flow.generation.fetch_add(1, std::memory_order_relaxed);
  flow.phase.store(Phase::free, std::memory_order_release);
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
    } else if (const std::uint32_t used = records_in_use(); used < capacity_) {
      flow = new (&records_[used]) Flow;
      header_->used.store(used + 1, std::memory_order_release);
    }
  }
  if (flow == nullptr) return nullptr;
  size_.fetch_add(1, std::memory_order_relaxed);
  flow->lock.lock();
  flow->egress = {};
  flow->endpoint = {};
  flow->endpoint_id = {};
  flow->deadline = {};  // killed before its first packet has left, it is nobody's
  flow->remembered = {};
  flow->refreshes_affinity = false;
  return flow;
}

void FlowTable::give_back(Flow& flow) noexcept {
  size_.fetch_sub(1, std::memory_order_relaxed);
  const std::lock_guard lock(free_lock_);
  flow.next_free = free_;
  free_ = 1 + record_of(flow);
}

LockedFlow FlowTable::next_in_sweep() noexcept {
  const std::uint32_t used = header_->used.load(std::memory_order_acquire);
  if (used == 0) return {};
  Flow& flow = records_[cursor_.fetch_add(1, std::memory_order_relaxed) % used];
  if (!flow.lock.try_lock()) return {};
  if (is_in_use(flow)) return {flow, KeyRole::outer};
  flow.lock.unlock();
  return {};
}

}  // namespace limpet::flow
