#include "lb/datapath/lingering.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

namespace limpet::datapath {

namespace {

bool is_alive(const flow::Flow& flow, flow::Instant now) noexcept {
  return !flow.direct && flow.deadline >= now;  // a direct flow is never translated
}

L4Address service_of(const flow::Flow& flow) noexcept {
  return {flow.protocol, flow.service};
}
L4Address endpoint_of(const flow::Flow& flow) noexcept {
  return {flow.protocol, flow.endpoint};
}

}  // namespace

PlanDelta Lingering::adopt(flow::FlowTable& flows, const DiversionPlan& balanced, flow::Instant now) {
  PlanDelta delta;
  // Neighbours in the table are often of one service: what was just looked up is not looked up again.
  const auto note = [](std::vector<L4Address>& found, const std::vector<L4Address>& known, const L4Address& at) {
    if (!found.empty() && found.back() == at) return;
    if (!std::ranges::binary_search(known, at)) found.push_back(at);
  };
  flows.visit(0, std::numeric_limits<std::size_t>::max(), [&](const flow::Flow& flow) {
    if (!is_alive(flow, now)) return;
    note(delta.added.services, balanced.services, service_of(flow));
    note(delta.added.endpoints, balanced.endpoints, endpoint_of(flow));
  });
  sort_unique(delta.added.services);
  sort_unique(delta.added.endpoints);
  insert(services_, delta.added.services);
  insert(endpoints_, delta.added.endpoints);
  return delta;
}

PlanDelta Lingering::hold(PlanDelta delta) {
  insert(services_, std::exchange(delta.removed.services, {}));
  insert(endpoints_, std::exchange(delta.removed.endpoints, {}));
  delta.added.services = take(services_, std::move(delta.added.services));
  delta.added.endpoints = take(endpoints_, std::move(delta.added.endpoints));
  return delta;
}

PlanDelta Lingering::step(flow::FlowTable& flows, std::size_t budget, flow::Instant now) {
  if (empty()) return {};
  const auto next = flows.visit(next_, budget, [&](const flow::Flow& flow) {
    if (!is_alive(flow, now)) return;
    meet(services_, service_of(flow));
    meet(endpoints_, endpoint_of(flow));
  });
  next_ = next.value_or(0);
  PlanDelta delta;
  if (next) return delta;
  delta.removed.services = end_round(services_);
  delta.removed.endpoints = end_round(endpoints_);
  return delta;
}

DiversionPlan Lingering::with(DiversionPlan balanced) const {
  DiversionPlan held;
  for (const Entry& entry : services_) held.services.push_back(entry.at);
  for (const Entry& entry : endpoints_) held.endpoints.push_back(entry.at);
  return empty() ? balanced : united(std::move(balanced), held);
}

void Lingering::insert(Entries& entries, const std::vector<L4Address>& leaving) {
  const auto old = static_cast<std::ptrdiff_t>(entries.size());
  for (const L4Address& at : leaving) entries.push_back({at});
  std::ranges::inplace_merge(entries, entries.begin() + old, {}, &Entry::at);
}

/// Those that come back are taken out. Returns the others, which are not diverted yet.
std::vector<L4Address> Lingering::take(Entries& entries, std::vector<L4Address> coming) {
  const auto lingers = [&](const L4Address& at) { return std::ranges::binary_search(entries, at, {}, &Entry::at); };
  std::vector<L4Address> back;
  std::ranges::copy_if(coming, std::back_inserter(back), lingers);
  if (back.empty()) return coming;
  std::erase_if(coming, lingers);
  std::erase_if(entries, [&](const Entry& entry) { return std::ranges::binary_search(back, entry.at); });
  return coming;
}

void Lingering::meet(Entries& entries, const L4Address& at) {
  const auto found = std::ranges::lower_bound(entries, at, {}, &Entry::at);
  if (found != entries.end() && found->at == at) found->met = true;
}

/// Returns those that are let go.
std::vector<L4Address> Lingering::end_round(Entries& entries) {
  std::vector<L4Address> gone;
  for (Entry& entry : entries) {
    entry.missed = entry.met ? 0 : static_cast<std::uint8_t>(entry.missed + 1);
    entry.met = false;
    if (entry.missed >= kRounds) gone.push_back(entry.at);
  }
  std::erase_if(entries, [](const Entry& entry) { return entry.missed >= kRounds; });
  return gone;
}

}  // namespace limpet::datapath
