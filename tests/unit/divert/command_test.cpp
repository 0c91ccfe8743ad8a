#include "lb/divert/command.h"

#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

namespace limpet::divert {
namespace {

using store::ErrorKind;

TEST(Command, TextInTextAndStatusOut) {
  const std::string text(1 << 20, 'x');  // far more than a pipe holds
  const auto echoed = run({"cat"}, text);
  ASSERT_TRUE(echoed) << echoed.error().message;
  EXPECT_EQ(echoed->out, text);
  EXPECT_EQ(echoed->status, 0);

  const auto failed = run({"sh", "-c", "echo words >&2; exit 3"});
  ASSERT_TRUE(failed) << failed.error().message;
  EXPECT_EQ(failed->err, "words\n");
  EXPECT_EQ(failed->status, 3);

  const auto killed = run({"sh", "-c", "kill -TERM $$"});
  ASSERT_TRUE(killed) << killed.error().message;
  EXPECT_EQ(killed->status, 128 + 15);
}

TEST(Command, ArgumentsMeetNoShell) {
  const auto outcome = run({"printf", "%s", "$HOME; `id` *"});
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->out, "$HOME; `id` *");
}

TEST(Command, MissingProgramIsUnavailable) {
  const auto outcome = run({"limpet-no-such-program"});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, ErrorKind::unavailable);
  EXPECT_EQ(outcome.error().message, "limpet-no-such-program: not installed");
}

TEST(Command, IsKilledAtItsLimit) {
  const auto outcome = run({"sleep", "600"}, {}, std::chrono::milliseconds(20));
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().message, "sleep: did not end within 20 ms and was killed");
}

TEST(Command, InheritsNoOtherDescriptor) {
  const int leaky = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as a careless library opens them
  ASSERT_GT(leaky, 2);
  // ls has its own descriptor of the directory that it lists, the lowest free one.
  const auto outcome = run({"ls", "/proc/self/fd"});
  ::close(leaky);
  ASSERT_TRUE(outcome) << outcome.error().message;
  EXPECT_EQ(outcome->out, "0\n1\n2\n3\n");
}

TEST(Command, FailuresSayWhatTheToolSaid) {
  struct {
    const char* name;
    Outcome outcome;
    ErrorKind kind;
    const char* message;
  } const cases[] = {
      {"not root, nft",
       {4, "",
        "iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must be "
        "root)\n\n"},
       ErrorKind::permission,
       "tool: iptables-restore v1.8.9 (nf_tables): Could not fetch rule set generation id: Permission denied (you must "
       "be "
       "root) (needs root, or CAP_NET_ADMIN in this network namespace)"},
      {"not root, ipset",
       {1, "", "ipset v7.17: Kernel error received: Operation not permitted\n"},
       ErrorKind::permission,
       "tool: ipset v7.17: Kernel error received: Operation not permitted (needs root, or CAP_NET_ADMIN in this "
       "network "
       "namespace)"},
      {"lock",
       {4, "", "Another app is currently holding the xtables lock. Perhaps you want to use the -w option?\n"},
       ErrorKind::unavailable,
       "tool: Another app is currently holding the xtables lock. Perhaps you want to use the -w option? (another "
       "program "
       "is changing the rules; try again)"},
      {"no such match",
       {2, "",
        "iptables-restore v1.8.9 (legacy): Couldn't load match `set':No such file or directory\n\nTry "
        "`iptables-restore -h' or 'iptables-restore --help' for more information.\n"},
       ErrorKind::unavailable,
       "tool: iptables-restore v1.8.9 (legacy): Couldn't load match `set':No such file or directory (this kernel may "
       "lack "
       "the feature)"},
      {"silent", {7, "", ""}, ErrorKind::runtime, "tool: exit status 7"},
  };
  for (const auto& c : cases) {
    const auto error = failure("tool", c.outcome);
    EXPECT_EQ(error.kind, c.kind) << c.name;
    EXPECT_EQ(error.message, c.message) << c.name;
  }
}

}  // namespace
}  // namespace limpet::divert
