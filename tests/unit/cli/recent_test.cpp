// Entries of `recent` lists, as the API gives them, become the kernel's lines.
#include "lb/cli/recent.h"

#include <gtest/gtest.h>

namespace limpet::cli {
namespace {

using nlohmann::ordered_json;

// Lines of Linux 6.18, as in tests/unit/affinity/recent_text_test.cpp.
TEST(RecentLine, IsTheKernels) {
  EXPECT_EQ(
      recent_line(ordered_json::parse(
          R"({"client":"10.0.0.1","ttl":0,"last_seen":4295738616,"oldest_pkt":2,"stamps":[4295738607,4295738616]})")),
      "src=10.0.0.1 ttl: 0 last_seen: 4295738616 oldest_pkt: 2 4295738607, 4295738616\n");
  EXPECT_EQ(recent_line(ordered_json::parse(
                R"({"client":"fd01:abcd::2","ttl":255,"last_seen":12,"oldest_pkt":1,"stamps":[12]})")),
            "src=fd01:abcd:0000:0000:0000:0000:0000:0002 ttl: 255 last_seen: 12 oldest_pkt: 1 12\n");
}

}  // namespace
}  // namespace limpet::cli
