// One name for each network namespace, for as long as the machine runs.
#include "lb/node/instance_name.h"

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

namespace limpet::node {
namespace {

/// The name in a network namespace of its own; empty: not permitted.
std::string in_another_namespace() {
  int ends[2];
  if (::pipe(ends) != 0) return {};
  const pid_t child = ::fork();
  if (child == 0) {
    if (::unshare(CLONE_NEWNET) != 0) ::_exit(77);
    const std::string name = instance_name();
    ::_exit(::write(ends[1], name.data(), name.size()) == static_cast<ssize_t>(name.size()) ? 0 : 1);
  }
  ::close(ends[1]);
  char name[64] = {};
  const ssize_t length = ::read(ends[0], name, sizeof name - 1);
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return length > 0 ? name : "";
}

TEST(InstanceName, StaysTheSameAndFitsIntoAPath) {
  const std::string name = instance_name();
  EXPECT_EQ(name, instance_name());
  EXPECT_TRUE(name == "default" || name.starts_with("netns-")) << name;
  EXPECT_EQ(name.find('/'), std::string::npos);
}

TEST(InstanceName, NoTwoNamespacesShareOneEvenOneAfterTheOther) {
  const std::string first = in_another_namespace(), second = in_another_namespace();
  if (first.empty()) GTEST_SKIP() << "network namespaces are not permitted here";
  if (first == "default") GTEST_SKIP() << "this kernel has no SO_NETNS_COOKIE";
  EXPECT_NE(first, second);
  EXPECT_NE(first, instance_name());
}

}  // namespace
}  // namespace limpet::node
