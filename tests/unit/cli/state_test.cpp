// The memory that outlives the process: which changes of the configuration the next start may make and still adopt it.
#include "lb/cli/state.h"

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/unit/store/region_fixture.h"

namespace limpet::cli {
namespace {

class StateFile : public store::Region {
 protected:
  void SetUp() override {
    store::Region::SetUp();
    config.state_path = options.path;
    config.instance = "test";
    config.tables.flows = 1000;
    config.tables.affinity = config.tables.affinity_ipv6 = 100'000;  // enough for shards by workers
    config.tables.endpoints = config.tables.scopes = 64;
  }
  std::unique_ptr<State> open(const service::Config& with) {
    auto state = State::open(with);
    if (!state) throw std::runtime_error(state.error().message);
    return std::move(*state);
  }

  service::Config config;
};

TEST_F(StateFile, IsAdoptedWhateverElseIsChanged) {
  struct Case {
    const char* name;
    std::function<void(service::Config&)> change;
    bool adopted;
  };
  const Case cases[] = {
      {"nothing", [](service::Config&) {}, true},
      {"one queue", [](service::Config& c) { c.queues.count = 1; }, true},
      {"the most queues", [](service::Config& c) { c.queues.count = affinity::kMostWorkers; }, true},
      {"another batch", [](service::Config& c) { c.queues.batch = 7; }, true},
      {"another mark", [](service::Config& c) { c.mark_mask = 0x2000; }, true},
      {"fewer fragments", [](service::Config& c) { c.tables.fragments = 16; }, true},
      {"another timeout", [](service::Config& c) { c.timeouts.frag = flow::Seconds(7); }, true},
      {"more affinities", [](service::Config& c) { c.tables.affinity = 200'000; }, false},
  };
  for (const Case& one : cases) {
    SCOPED_TRACE(one.name);
    std::filesystem::remove(options.path);
    open(config)->memory(State::Section::affinities)[0] = std::byte{7};
    service::Config changed = config;
    one.change(changed);
    const auto next = open(changed);
    EXPECT_EQ(next->adopted(), one.adopted);
    EXPECT_EQ(next->warnings().empty(), one.adopted);
    EXPECT_EQ(next->memory(State::Section::affinities)[0], std::byte{static_cast<unsigned char>(one.adopted ? 7 : 0)});
  }
}

TEST_F(StateFile, SaysHowItWentOn) {
  EXPECT_EQ(open(config)->history(), "") << "there was nobody before";
  open(config)->mark_clean();
  EXPECT_EQ(open(config)->history(), "start 3 of it, after a clean stop");
  EXPECT_EQ(open(config)->history(), "start 4 of it, after a kill or a crash") << "said of the last process only";
  config.state_path = "none";
  EXPECT_EQ(open(config)->history(), "") << "it ends with the process";
}

}  // namespace
}  // namespace limpet::cli
