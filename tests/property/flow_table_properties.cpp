// The flow table beside a plain model: the same operations, the same answers. A failure prints the seed that reproduces it
// (RC_PARAMS="seed=…").
#include <array>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "tests/unit/flow/table_memory.h"

namespace limpet::flow {
namespace {

using net::AddressPort;
using net::Protocol;
using net::Tuple;

constexpr std::uint32_t kCapacity = 6;

/// Few ends, so that pairs meet each other in every role and direction.
AddressPort end(unsigned n) {
  return {net::Address::from_v4(0x0a000001 + n / 2), static_cast<std::uint16_t>(80 + n % 2)};
}
constexpr unsigned kEnds = 6;

std::string name(const Tuple& tuple) {
  const auto& [low, high] = std::minmax(tuple.source, tuple.destination);
  return net::to_string(tuple.protocol) + " " + low.to_string() + " " + high.to_string();
}

/// What a table of unordered pairs must do, with std::unordered_map.
class Model {
 public:
  struct Entry {
    unsigned flow;
    KeyRole role;
  };
  std::optional<Entry> find(const Tuple& tuple) const {
    const auto found = pairs_.find(name(tuple));
    return found == pairs_.end() ? std::nullopt : std::optional(found->second);
  }
  bool link(unsigned flow, KeyRole role, const Tuple& tuple) {
    return pairs_.insert({name(tuple), {flow, role}}).second;
  }
  void remove(unsigned flow) {
    std::erase_if(pairs_, [&](const auto& entry) { return entry.second.flow == flow; });
    flows_.erase(flow);
  }
  void create(unsigned flow) { flows_[flow] = true; }
  std::size_t size() const { return flows_.size(); }

 private:
  std::unordered_map<std::string, Entry> pairs_;
  std::unordered_map<unsigned, bool> flows_;
};

/// Both, and what they say of an operation.
class Pair {
 public:
  void step(unsigned operation, const Tuple& tuple) {
    switch (operation) {
      case 0:
        return create(tuple);
      case 1:
        return link(tuple, KeyRole::middle);
      case 2:
        return link(tuple, KeyRole::inner);
      case 3:
        return remove(tuple);
      default:
        return restart();
    }
  }
  void compare() {
    RC_ASSERT(table_->size() == model_.size());
    for (unsigned a = 0; a < kEnds; ++a) {
      for (unsigned b = 0; b < kEnds; ++b) {
        if (a == b) continue;
        const Tuple tuple{Protocol::udp, end(a), end(b)};
        const LockedFlow flow = table_->find(tuple);
        const auto expected = model_.find(tuple);
        RC_ASSERT(static_cast<bool>(flow) == expected.has_value());
        if (!flow) continue;
        RC_ASSERT(flow->remembered.endpoint() == expected->flow);
        RC_ASSERT(flow.role() == expected->role);
      }
    }
  }

 private:
  void create(const Tuple& tuple) {
    LockedFlow flow;
    const auto made = table_->create(tuple, flow);
    if (model_.size() == kCapacity) {
      RC_ASSERT(made == FlowTable::Create::full);
    } else if (model_.find(tuple)) {
      RC_ASSERT(made == FlowTable::Create::exists);
    } else {
      RC_ASSERT(made == FlowTable::Create::created);
      flow->remembered = {1, 0, ++next_};
      flow->direct = true;  // until it has a middle key
      flow->endpoint = tuple.destination;
      table_->commit(*flow);
      model_.create(next_);
      RC_ASSERT(model_.link(next_, KeyRole::outer, tuple));
    }
  }
  /// To the flow that `tuple` leads to: the pair of its ends, each moved on by one.
  void link(const Tuple& tuple, KeyRole role) {
    LockedFlow flow = table_->find(tuple);
    if (!flow || flow->linked[static_cast<unsigned>(role)]) return;
    if (role == KeyRole::inner && flow->direct) return;
    const AddressPort near = end((tuple.source.port + tuple.destination.port * 3u) % kEnds);
    const AddressPort far = role == KeyRole::middle ? end(tuple.source.port % kEnds) : flow->endpoint;
    if (near == far) return;
    if (role == KeyRole::middle) {
      flow->endpoint = far, flow->client_near = near;
    } else {
      flow->egress = near;
    }
    const bool linked = table_->link(*flow, role);
    RC_ASSERT(linked == model_.link(flow->remembered.endpoint(), role, {Protocol::udp, near, far}));
    if (linked) flow->direct = false;
    if (!linked && role == KeyRole::inner) flow->egress = {};
  }
  void remove(const Tuple& tuple) {
    LockedFlow flow = table_->find(tuple);
    if (!flow) return;
    model_.remove(flow->remembered.endpoint());
    table_->remove(std::move(flow));
  }
  void restart() {
    table_.emplace(memory_.options(), memory_.bytes());
    const FlowRecovery found = table_->recover([](const Flow&) { return true; });
    RC_ASSERT(found.usable);
    RC_ASSERT(found.kept == model_.size());
    RC_ASSERT(found.damaged + found.undone + found.mended == 0u);
  }

  TableMemory memory_{kCapacity};
  std::optional<FlowTable> table_{std::in_place, memory_.options(), memory_.bytes()};
  Model model_;
  std::uint32_t next_ = 0;
};

RC_GTEST_PROP(FlowTableProperties, AnswersAsTheModelDoes, ()) {
  Pair both;
  const auto steps = *rc::gen::container<std::vector<std::array<unsigned, 3>>>(
      rc::gen::container<std::array<unsigned, 3>>(rc::gen::inRange(0u, 60u)));
  for (const auto& [operation, a, b] : steps) {
    const unsigned from = a % kEnds, to = b % kEnds;
    if (from == to) continue;
    both.step(operation % 12 == 11 ? 4 : operation % 4, {Protocol::udp, end(from), end(to)});
    both.compare();
  }
}

}  // namespace
}  // namespace limpet::flow
