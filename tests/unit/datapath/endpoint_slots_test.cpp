#include "lb/datapath/endpoint_slots.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace limpet::datapath {
namespace {

constexpr std::uint8_t kReadyServing = EndpointSlots::ready | EndpointSlots::serving;

TEST(EndpointSlots, StateBitsAreSeparate) {
  struct Row {
    std::string name;
    std::uint8_t state;
    bool ready, serving;
  };
  EndpointSlots slots(4);
  for (const Row& row : std::vector<Row>{{"in use", kReadyServing, true, true},
                                         {"draining: keeps what it has", EndpointSlots::serving, false, true},
                                         {"ready alone", EndpointSlots::ready, true, false},
                                         {"gone", 0, false, false}}) {
    slots.set({3, 7}, row.state);
    EXPECT_EQ(slots.is({3, 7}, EndpointSlots::ready), row.ready) << row.name;
    EXPECT_EQ(slots.is({3, 7}, EndpointSlots::serving), row.serving) << row.name;
  }
}

TEST(EndpointSlots, SlotAndIdAreCheckedTogether) {
  EndpointSlots slots(4);
  EXPECT_EQ(slots.capacity(), 4u);
  slots.set({1, 7}, kReadyServing);
  struct Row {
    std::string name;
    EndpointId endpoint;
    bool in_force;
  };
  for (const Row& row : std::vector<Row>{{"itself", {1, 7}, true},
                                         {"an older name of the slot", {1, 6}, false},
                                         {"a newer name", {1, 8}, false},
                                         {"an id that agrees in 24 bits", {1, 7 + (1u << 24)}, false},
                                         {"its id, another slot", {2, 7}, false},
                                         {"no endpoint", {1, 0}, false},
                                         {"no endpoint in an unused slot", {0, 0}, false},
                                         {"the first slot beyond", {4, 7}, false},
                                         {"far beyond", {0xffffffff, 7}, false}}) {
    EXPECT_EQ(slots.is(row.endpoint, EndpointSlots::serving), row.in_force) << row.name;
  }
  slots.set({1, 8}, kReadyServing);  // the slot serves again
  EXPECT_FALSE(slots.is({1, 7}, EndpointSlots::serving));
  EXPECT_TRUE(slots.is({1, 8}, EndpointSlots::serving));
}

TEST(EndpointSlots, StatesChangeAroundAPublication) {
  constexpr std::uint8_t kServing = EndpointSlots::serving;
  struct Row {
    std::string name;
    std::uint8_t before;  // 0: the slot is another's, or nobody's
    StateChange change;
    std::uint8_t admitted, dismissed;
  };
  for (const Row& row : std::vector<Row>{
           {"a new one is known before it is chosen", 0, {{1, 7}, kReadyServing}, kReadyServing, kReadyServing},
           {"one that leaves is known while it is chosen", kReadyServing, {{1, 7}, 0, true}, kReadyServing, 0},
           {"one that drains", kReadyServing, {{1, 7}, kServing}, kReadyServing, kServing},
           {"one that serves no longer", kReadyServing, {{1, 7}, 0}, kReadyServing, 0},
           {"one that is ready again", kServing, {{1, 7}, kReadyServing}, kReadyServing, kReadyServing}}) {
    EndpointSlots slots(4);
    slots.set({1, row.before == 0 ? 6U : 7U}, row.before);
    const auto state = [&] {
      return (slots.is({1, 7}, EndpointSlots::ready) ? EndpointSlots::ready : 0) |
             (slots.is({1, 7}, EndpointSlots::serving) ? EndpointSlots::serving : 0);
    };
    slots.admit({&row.change, 1});
    EXPECT_EQ(state(), row.admitted) << row.name;
    slots.dismiss({&row.change, 1});
    EXPECT_EQ(state(), row.dismissed) << row.name;
  }
}

TEST(EndpointSlots, ASlotThatIsGivenOnAtOnceIsItsNewOwners) {
  EndpointSlots slots(4);
  slots.set({1, 7}, kReadyServing);
  const std::vector<StateChange> changes{{{1, 7}, 0, true}, {{1, 8}, kReadyServing}};
  slots.admit(changes);
  EXPECT_TRUE(slots.is({1, 8}, EndpointSlots::ready));
  slots.dismiss(changes);
  EXPECT_TRUE(slots.is({1, 8}, EndpointSlots::ready));
  EXPECT_FALSE(slots.is({1, 7}, EndpointSlots::serving));
}

TEST(EndpointSlots, NobodyIsInForceUntilItIsRenewed) {
  EndpointSlots slots(4, 0xffffffff);
  const EndpointId before = slots.nobody();
  EXPECT_TRUE(slots.is(before, EndpointSlots::serving));
  slots.renew_nobody();
  EXPECT_FALSE(slots.is(before, EndpointSlots::serving));
  EXPECT_TRUE(slots.is(slots.nobody(), EndpointSlots::serving)) << "also after the last number";
  EXPECT_FALSE(slots.is(slots.nobody(), EndpointSlots::ready));
}

TEST(EndpointSlots, TheLargestIdFits) {
  EndpointSlots slots(1);
  slots.set({0, 0xffffffff}, EndpointSlots::ready);
  EXPECT_TRUE(slots.is({0, 0xffffffff}, EndpointSlots::ready));
  EXPECT_FALSE(slots.is({0, 0xffffffff}, EndpointSlots::serving));
  EXPECT_FALSE(slots.is({0, 0x00ffffff}, EndpointSlots::ready));
}

}  // namespace
}  // namespace limpet::datapath
