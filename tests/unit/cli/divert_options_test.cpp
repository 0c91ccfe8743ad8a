// From the configuration's words to what lb/divert is asked for.
#include "lb/cli/divert_options.h"

#include <string>

#include <gtest/gtest.h>

#include "lb/service/config_reader.h"

namespace limpet::cli {
namespace {

divert::Options options_of(const std::string& text) {
  const auto loaded = service::read_config(text, "f", "host");
  EXPECT_TRUE(loaded.config) << text;
  return loaded.config ? divert_options(*loaded.config) : divert::Options{};
}

TEST(DivertOptions, are_the_configurations) {
  const divert::Options given = options_of(
      "queues: {first: 7, count: 3}\nmarks: {mask: 0x10}\nonDeath: bypass\nrejectWith: tcp-reset\n"
      "divert: {backend: nft, direct: true, defragment: never}\n");
  EXPECT_EQ(given.backend, divert::Backend::nft);
  EXPECT_EQ(given.first_queue, 7);
  EXPECT_EQ(given.queue_count, 3);
  EXPECT_EQ(given.mark_mask, 0x10U);
  EXPECT_EQ(given.on_death, divert::OnDeath::bypass);
  EXPECT_EQ(given.defragment, divert::Defragment::never);
  EXPECT_TRUE(given.direct);
  EXPECT_TRUE(given.reset_rejected_tcp);

  const divert::Options plain = options_of("services: []");
  EXPECT_EQ(plain.backend, divert::Backend::automatic);
  EXPECT_EQ(plain.on_death, divert::OnDeath::hold);
  EXPECT_EQ(plain.defragment, divert::Defragment::automatic);
  EXPECT_FALSE(plain.direct);
  EXPECT_FALSE(plain.reset_rejected_tcp);
}

TEST(DivertOptions, touch_route_localnet_only_where_a_node_port_listens_there) {
  struct {
    const char* node;
    const char* service;
    bool expected;
  } const cases[] = {
      {"localhostNodePorts: true", "nodePort: 30000", true},
      {"localhostNodePorts: true, nodePortAddresses: [127.0.0.0/8]", "nodePort: 30000", true},
      {"localhostNodePorts: true, addresses: [10.0.0.1]", "nodePort: 30000", true},
      {"localhostNodePorts: false", "nodePort: 30000", false},
      {"localhostNodePorts: true, nodePortAddresses: [10.0.0.0/8]", "nodePort: 30000", false},
      {"localhostNodePorts: true, nodePortAddresses: primary", "nodePort: 30000", false},
      {"localhostNodePorts: true", "clusterIP: 10.96.0.1", false},
      {"localhostNodePorts: true", "clusterIP: 'fd00::1', nodePort: 30000", false},  // ::1 never
  };
  for (const auto& c : cases) {
    const std::string text =
        std::string("node: {") + c.node + "}\nservices: [{name: a/b:c, port: 80, " + c.service + "}]";
    EXPECT_EQ(options_of(text).localhost_node_ports, c.expected) << text;
  }
}

}  // namespace
}  // namespace limpet::cli
