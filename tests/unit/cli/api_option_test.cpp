// Where a daemon is looked for: by its socket, by its configuration, or by the network namespace.
#include "lb/cli/api_option.h"

#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lb/node/instance_name.h"

namespace limpet::cli {
namespace {

/// Root's place, where a client of any user looks last.
std::string root_socket(const std::string& instance) {
  return "/run/limpet/" + instance + ".sock";
}

class SocketsOf : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(config); }
  store::Result<std::vector<std::filesystem::path>> configured(const std::string& text) {
    std::ofstream(config) << text << '\n';
    return sockets_of({.config = config});
  }

  // Each test may be a process of its own, beside the others.
  std::string config = testing::TempDir() + "api_option_test." + std::to_string(::getpid()) + ".yaml";
};

TEST_F(SocketsOf, NothingSaidIsTheNamespaces) {
  EXPECT_EQ(sockets_of({})->back(), root_socket(node::instance_name()));
}

TEST_F(SocketsOf, ASocketIsThatAlone) {
  EXPECT_THAT(*sockets_of({.socket = "/tmp/x.sock"}), testing::ElementsAre("/tmp/x.sock"));
}

TEST_F(SocketsOf, AConfigurationNamesItsDaemon) {
  EXPECT_EQ(configured("instance: blue")->back(), root_socket("blue"));
  EXPECT_EQ(configured("node: {nodeIP: 10.0.0.1}")->back(), root_socket(node::instance_name()));
  EXPECT_THAT(*configured("control: {socket: /tmp/y.sock}"), testing::ElementsAre("/tmp/y.sock"));
  EXPECT_THAT(*configured("{instance: blue, control: {socket: /tmp/y.sock}}"), testing::ElementsAre("/tmp/y.sock"));
}

TEST_F(SocketsOf, AConfigurationThatNamesNoneIsRefused) {
  struct Case {
    const char* text;
    const char* message;
  };
  for (const Case& one : {Case{"control: {socket: none}", "control.socket is none"},
                          Case{"instances: blue", ".yaml:1:1: error: "}, Case{"", "is empty"}}) {
    const auto refused = configured(one.text);
    ASSERT_FALSE(refused) << one.text;
    EXPECT_EQ(refused.error().kind, store::ErrorKind::configuration);
    EXPECT_THAT(refused.error().message, testing::HasSubstr(one.message));
  }
}

}  // namespace
}  // namespace limpet::cli
