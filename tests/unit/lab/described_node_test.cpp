#include "lb/lab/described_node.h"

#include <gtest/gtest.h>

#include "tests/unit/lab/captures.h"

namespace limpet::lab {
namespace {

TEST(DescribedNode, is_what_the_configuration_says) {
  service::NodeConfig config;
  config.node_ip = ip("10.0.0.5");
  config.addresses = {ip("10.0.0.4"), ip("fd00::5")};
  const auto node = described_node(config, "eth7");
  ASSERT_TRUE(node);
  for (const char* own : {"10.0.0.4", "10.0.0.5", "fd00::5", "127.0.0.1"})
    EXPECT_TRUE(node->view.is_local(ip(own))) << own;
  EXPECT_FALSE(node->view.is_local(ip("10.0.0.6")));
  EXPECT_NE(node->in_interface, 0U);
  EXPECT_EQ(node->view.interface_name(node->in_interface), "eth7");
  EXPECT_EQ(node->view.egress(1, ip("192.0.2.1")), ip("10.0.0.5")) << "nodeIP first";
}

TEST(DescribedNode, knows_no_interface_that_is_not_named) {
  service::NodeConfig config;
  config.node_ip = ip("10.0.0.5");
  EXPECT_EQ(described_node(config, "")->in_interface, 0U);
  EXPECT_EQ(described_node({}, "no-such-interface")->in_interface, 0U);
}

}  // namespace
}  // namespace limpet::lab
