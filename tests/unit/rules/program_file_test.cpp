// The files of a program: what is read, what is refused, with which words.
#include "lb/rules/program_file.h"

#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limpet::rules {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::SizeIs;

class ProgramFile : public testing::Test {
 protected:
  std::string write(const std::string& name, const std::string& text) {
    const std::string path = testing::TempDir() + "program_file_test_" +
                             testing::UnitTest::GetInstance()->current_test_info()->name() + "_" + name;
    std::ofstream(path) << text;
    return path;
  }
  std::string message(const ProgramSource& source) {
    const auto loaded = load_program(source, memory);
    if (loaded) return "";
    EXPECT_EQ(loaded.error().kind, store::ErrorKind::configuration);
    return loaded.error().message;
  }

  RuleMemory memory{{}, NthOnReload::reset};
};

TEST_F(ProgramFile, IsCompletedAndLinked) {
  const auto loaded = load_program({.file = LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md"}, memory);
  ASSERT_TRUE(loaded) << loaded.error().message;
  EXPECT_EQ(count_rules(*loaded->linked.rules) - loaded->added.size(), 23U);  // of the dump: grep -c ^-A
  EXPECT_THAT(loaded->added, SizeIs(6));  // two to KUBE-SERVICES, one to KUBE-NODEPORTS, three to masquerade
  EXPECT_THAT(memory.lists.names(), SizeIs(4));
}

TEST_F(ProgramFile, EveryFaultyLineIsTold) {
  const std::string bad = write("bad", "-A PREROUTING -j DNAT\n-A PREROUTING -m recent --name A\n");
  EXPECT_THAT(message({.file = bad}), testing::AllOf(HasSubstr(bad + ":1: "), HasSubstr("\n" + bad + ":2: ")));
  const std::string lost = write("lost", "-A PREROUTING -j A\n-A PREROUTING -j B\n");
  EXPECT_THAT(message({.file = lost}), testing::AllOf(HasSubstr(lost + ":1: "), HasSubstr("\n" + lost + ":2: ")));
}

TEST_F(ProgramFile, LenientLeavesOutAndTells) {
  const std::string file = write("bad", "-A PREROUTING -m nonsense\n-A PREROUTING -j A\n-A PREROUTING -j ACCEPT\n");
  const auto loaded = load_program({.file = file, .lenient = true}, memory);
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_THAT(loaded->skipped, SizeIs(2));
  EXPECT_EQ(loaded->skipped[0].line, 1U);
  EXPECT_EQ(loaded->skipped[1].line, 2U);
}

TEST_F(ProgramFile, SetsAreKeptWithIt) {
  const std::string file = write("rules", "-A PREROUTING -m set --match-set web dst,dst -j ACCEPT\n");
  EXPECT_THAT(message({.file = file}), HasSubstr("there is no set 'web'"));
  const std::string sets = write("sets", "create web hash:ip,port family inet\nadd web 10.0.0.1,tcp:80\n");
  const auto loaded = load_program({.file = file, .ipsets = sets}, memory);
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_NE(loaded->linked.sets, nullptr);
  EXPECT_THAT(loaded->linked.sets->sets, SizeIs(1));
  const std::string faulty = write("faulty", "create web hash:mac\n");
  EXPECT_THAT(message({.file = file, .ipsets = faulty}), HasSubstr(faulty + ":1: "));
}

TEST_F(ProgramFile, WhatIsNoProgram) {
  EXPECT_THAT(message({.file = "/nonexistent"}), HasSubstr("/nonexistent cannot be read: No such file"));
  EXPECT_THAT(message({.file = testing::TempDir()}), HasSubstr(" cannot be read: Is a directory"));
  const std::string prose = write("prose", "Nothing here.\n");
  EXPECT_THAT(message({.file = prose}), HasSubstr(prose + " holds no iptables rules"));
  EXPECT_THAT(message({.file = write("empty", "")}), HasSubstr("holds no iptables rules"));
}

}  // namespace
}  // namespace limpet::rules
