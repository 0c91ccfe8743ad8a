// FlowTable::recover(): the table that a killed process has left, made whole. flow_table.h says why this is enough.
#include <algorithm>

#include "conntrack/flow/flow_table.h"

namespace limpet::flow {

namespace {

/// How far ahead of its use a bucket is asked for. The records come in order, which the processor sees for itself; to ask
/// for them too takes the places that these misses need (measured: 90 ms in place of 67 for a million flows).
constexpr std::uint32_t kBucketsAhead = 32;

}  // namespace

FlowRecovery FlowTable::recover(const std::function<bool(const Flow&)>& adopt) {
  FlowRecovery found;
  const std::uint32_t used = records_in_use();
  if (used > capacity_) return {.usable = false};
  for (std::uint64_t i = 0; i <= bucket_mask_; ++i) found.buckets_unlocked += buckets_[i].reset();
  free_ = 0;
  for (std::uint32_t record = 0; record < used; ++record) {
    prefetch_buckets(record, used);
    Flow& flow = records_[record];
    if (keep(flow, adopt, found)) {
      put_in_index(flow);
    } else {
      free_in_recovery(flow);
    }
  }
  size_.store(found.kept, std::memory_order_relaxed);
  return found;
}

void FlowTable::prefetch_buckets(std::uint32_t record, std::uint32_t used) const noexcept {
  if (record + kBucketsAhead >= used) return;
  for (const Flow::Link& link : records_[record + kBucketsAhead].links) {
    __builtin_prefetch(&bucket(link.tag.load(std::memory_order_relaxed)), 1);
  }
}

/// Is the flow to be kept? Then the record is mended, unlocked, and says by `linked` which keys it needs.
bool FlowTable::keep(Flow& flow, const std::function<bool(const Flow&)>& adopt, FlowRecovery& found) const {
  const bool torn = flow.lock.reset();
  switch (flow.phase.load(std::memory_order_relaxed)) {
    case Phase::free:
      found.returned += torn;
      return false;
    case Phase::begun:
      ++found.undone;
      return false;
    case Phase::ending:
      ++found.finished;
      return false;
    case Phase::live:
      break;
  }
  const auto linked = [&](KeyRole role) { return flow.linked[static_cast<unsigned>(role)]; };
  if (!flow.is_whole() || !linked(KeyRole::outer) || linked(KeyRole::middle) == flow.direct) {
    ++found.damaged;
    return false;
  }
  if (!linked(KeyRole::inner) && flow.egress.port != 0) flow.egress = {};  // mostly nothing to write
  if (!adopt(flow)) {
    ++found.refused;
    return false;
  }
  ++found.kept;
  found.mended += torn;
  return true;
}

void FlowTable::put_in_index(Flow& flow) noexcept {
  for (const KeyRole role : {KeyRole::outer, KeyRole::middle, KeyRole::inner}) {
    const auto r = static_cast<unsigned>(role);
    if (!flow.linked[r]) continue;
    Bucket& home = bucket(flow.links[r].tag.load(std::memory_order_relaxed));
    flow.links[r].next.store(home.push(link_id(flow, role)), std::memory_order_relaxed);
  }
}

void FlowTable::free_in_recovery(Flow& flow) noexcept {
  flow.phase.store(Phase::free, std::memory_order_relaxed);
  flow.linked = {};
  flow.generation.fetch_add(1, std::memory_order_relaxed);
  flow.next_free = free_;
  free_ = 1 + record_of(flow);
}

}  // namespace limpet::flow
