#include "lb/service/pipeline_settings.h"

#include <gtest/gtest.h>

namespace limpet::service {
namespace {

TEST(PipelineSettings, of_the_defaults_are_the_pipelines_own) {
  const datapath::PipelineOptions from_config = pipeline_options(Config{});
  const datapath::PipelineOptions defaults;
  EXPECT_EQ(from_config.mark_mask, defaults.mark_mask);
  EXPECT_EQ(from_config.midstream, defaults.midstream);
  EXPECT_EQ(from_config.reset_rejected_tcp, defaults.reset_rejected_tcp);
  EXPECT_EQ(from_config.answer_echo, defaults.answer_echo);
  EXPECT_EQ(from_config.track_direct, defaults.track_direct);
}

TEST(PipelineSettings, follow_each_key) {
  Config config;
  config.mark_mask = 0x40;
  config.midstream = datapath::MidstreamPolicy::drop;
  config.reject_with = RejectWith::tcp_reset;
  config.icmp_echo = IcmpEcho::reply;
  config.divert_direct = true;
  const datapath::PipelineOptions options = pipeline_options(config);
  EXPECT_EQ(options.mark_mask, 0x40U);
  EXPECT_EQ(options.midstream, datapath::MidstreamPolicy::drop);
  EXPECT_TRUE(options.reset_rejected_tcp);
  EXPECT_TRUE(options.answer_echo);
  EXPECT_TRUE(options.track_direct);
}

TEST(PipelineSettings, assign_masquerade_ports_but_no_node_port) {
  Config config;
  config.masquerade_ports = {{2000, 2009}, {3000, 3000}};
  config.services.resize(2);  // the first without a nodePort
  config.services[1].node_port = 2005;
  const flow::PortPool ports = make_port_pool(config, {5000, 5009});
  constexpr std::uint16_t kAssigned[] = {2000, 2004, 2006, 2009, 3000};
  constexpr std::uint16_t kOthers[] = {0, 1999, 2005, 2010, 2999, 3001};
  for (const std::uint16_t port : kAssigned) EXPECT_TRUE(ports.may_assign(port)) << port;
  for (const std::uint16_t port : kOthers) EXPECT_FALSE(ports.may_assign(port)) << port;
  EXPECT_FALSE(ports.may_keep(2005));
  EXPECT_TRUE(ports.may_keep(4999)) << "a client keeps any port that neither a nodePort nor a local socket may use";
  EXPECT_FALSE(ports.may_keep(5000));
  EXPECT_FALSE(ports.may_keep(5009));
  EXPECT_TRUE(ports.may_keep(5010));
}

TEST(PipelineSettings, keep_the_default_ports_clear_of_the_nodes_own) {
  const auto expect = [](flow::PortInterval ephemeral, std::vector<std::uint16_t> assigned,
                         std::vector<std::uint16_t> others) {
    const flow::PortPool ports = make_port_pool({}, ephemeral);
    for (const std::uint16_t port : assigned) EXPECT_TRUE(ports.may_assign(port)) << port;
    for (const std::uint16_t port : others) EXPECT_FALSE(ports.may_assign(port)) << port;
  };
  expect({32768, 60999}, {1024, 29999, 61000, 65535}, {1023, 30000, 60999});
  expect({15000, 65000}, {1024, 14999, 65001, 65535}, {15000, 29999, 61000, 65000});
  expect({2000, 2999}, {1024, 1999, 3000, 29999, 61000, 65535}, {2000, 2999});
  expect({1024, 65535}, {1024, 29999, 61000, 65535}, {30000});  // else none could be masqueraded
}

}  // namespace
}  // namespace limpet::service
