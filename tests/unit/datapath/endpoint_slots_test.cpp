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

TEST(EndpointSlots, TheLargestIdFits) {
  EndpointSlots slots(1);
  slots.set({0, 0xffffffff}, EndpointSlots::ready);
  EXPECT_TRUE(slots.is({0, 0xffffffff}, EndpointSlots::ready));
  EXPECT_FALSE(slots.is({0, 0xffffffff}, EndpointSlots::serving));
  EXPECT_FALSE(slots.is({0, 0x00ffffff}, EndpointSlots::ready));
}

}  // namespace
}  // namespace limpet::datapath
