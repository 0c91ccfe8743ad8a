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

// Inodes: dynamic ones begin at 0xF0000000 = 4026531840 (include/linux/proc_fs.h, PROC_DYNAMIC_FIRST).
TEST(InstanceName, OfWhatTheKernelTells) {
  constexpr std::uint64_t kFixed = 0xEFFFFFF9, kOwn = 4026531992, kOther = 4026532000;
  struct Case {
    const char* what;
    NamespaceFacts facts;
    std::string name;
  };
  const Case cases[] = {
      {"the first one, Linux 6.18", {kFixed, 7, kFixed}, "default"},
      {"the first one, Linux 5.14 to 6.17", {kOwn, 1, kOwn}, "default"},
      {"the first one, seen from a container", {kOwn, 1, kOther}, "default"},
      {"a container's", {kOther, 4097, kOther}, "netns-4097"},
      {"one made by hand", {kOther, 4097, kOwn}, "netns-4097"},
      {"no cookies, process 1's", {kOwn, 0, kOwn}, "default"},
      {"no cookies, one made by hand", {kOther, 0, kOwn}, "netns-inode-4026532000"},
      {"no cookies, process 1 is not for us to see", {kOther, 0, 0}, "netns-inode-4026532000"},
      {"no /proc", {}, "default"},
  };
  for (const Case& one : cases) EXPECT_EQ(instance_name(one.facts), one.name) << one.what;
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
