#include "lb/node/local_ports.h"

#include <gtest/gtest.h>

namespace limpet::node {
namespace {

TEST(LocalPorts, ReadsTwoPortsInOrder) {
  struct {
    const char* text;
    std::optional<LocalPorts> expected;
  } const cases[] = {{"32768\t60999\n", LocalPorts{32768, 60999}},
                     {"1 65535", LocalPorts{1, 65535}},
                     {"7 7", LocalPorts{7, 7}},
                     {"60999 32768", std::nullopt},
                     {"1 65536", std::nullopt},
                     {"1", std::nullopt},
                     {"1 2 3", std::nullopt},
                     {"-1 5", std::nullopt},
                     {"", std::nullopt}};
  for (const auto& c : cases) EXPECT_EQ(parse_local_ports(c.text), c.expected) << '"' << c.text << '"';
}

TEST(LocalPorts, AMissingFileIsUnavailable) {
  const auto ports = read_local_ports("/proc/sys/net/ipv4/no_such_file");
  ASSERT_FALSE(ports);
  EXPECT_EQ(ports.error().kind, store::ErrorKind::unavailable);
}

}  // namespace
}  // namespace limpet::node
