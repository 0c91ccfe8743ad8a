// Two Deciders as one.
#include "lb/datapath/deciders_in_turn.h"

#include <optional>

#include <gtest/gtest.h>

namespace limpet::datapath {
namespace {

/// Says the same whatever it is asked.
class Stubborn final : public Decider {
 public:
  Stubborn(const EndpointSlots& slots, Action action) : Decider(slots) { answer.action = action; }
  Decision decide(const NewConnection& connection, const node::NodeView&, flow::Instant, pick::Rng&) override {
    asked = connection.tuple.destination;
    return answer;
  }
  void confirm(const net::Address& client, const flow::AffinityName&, flow::Instant) override { confirmed = client; }
  void refresh(const net::Address& client, const flow::AffinityName&, flow::Instant) override { refreshed = client; }

  Decision answer;
  std::optional<net::AddressPort> asked;
  std::optional<net::Address> confirmed, refreshed;
};

TEST(DecidersInTurn, TheSecondIsAskedAboutWhatIsNoneOfTheFirsts) {
  const EndpointSlots slots(1);
  NewConnection connection;
  connection.tuple.destination = *net::AddressPort::parse("10.96.0.1:80");
  pick::Rng rng(1);
  const node::NodeView node;
  for (const Action first : {Action::dnat, Action::reject, Action::drop, Action::none}) {
    Stubborn one(slots, first), other(slots, Action::reject);
    DecidersInTurn both(slots, one, other);
    const Decision decision = both.decide(connection, node, {}, rng);
    EXPECT_EQ(decision.action, first == Action::none ? Action::reject : first);
    EXPECT_EQ(one.asked, connection.tuple.destination);
    EXPECT_EQ(other.asked.has_value(), first == Action::none);
  }
}

TEST(DecidersInTurn, TheSecondMayHaveWhatTheFirstTurnsAwayAsNobodys) {
  const EndpointSlots slots(1);
  pick::Rng rng(1);
  const node::NodeView node;
  for (const Reason reason : {Reason::no_such_port, Reason::unallocated}) {
    Stubborn one(slots, Action::drop), taker(slots, Action::dnat), stranger(slots, Action::none);
    one.answer.reason = reason;
    EXPECT_EQ(DecidersInTurn(slots, one, taker).decide({}, node, {}, rng).action, Action::dnat);
    const Decision kept = DecidersInTurn(slots, one, stranger).decide({}, node, {}, rng);
    EXPECT_EQ(kept.action, Action::drop);
    EXPECT_EQ(kept.reason, reason);
  }
}

TEST(DecidersInTurn, BothHearOfClientsThatProvedThemselves) {
  const EndpointSlots slots(1);
  Stubborn one(slots, Action::none), other(slots, Action::none);
  DecidersInTurn both(slots, one, other);
  const auto client = *net::Address::parse("203.0.113.7"), another = *net::Address::parse("203.0.113.8");
  both.confirm(client, {}, {});
  both.refresh(another, {}, {});
  EXPECT_EQ(one.confirmed, client);
  EXPECT_EQ(other.confirmed, client);
  EXPECT_EQ(one.refreshed, another);
  EXPECT_EQ(other.refreshed, another);
}

TEST(DecidersInTurn, EndpointsOfBothAreValidInTheSameSlots) {
  EndpointSlots slots(2);
  slots.set({1, 7}, EndpointSlots::serving);
  Stubborn one(slots, Action::none), other(slots, Action::none);
  const DecidersInTurn both(slots, one, other);
  EXPECT_TRUE(both.still_valid({1, 7}));
  EXPECT_FALSE(both.still_valid({1, 8}));
}

}  // namespace
}  // namespace limpet::datapath
