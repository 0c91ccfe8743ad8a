#include "lb/cli/check.h"

#include <cstdio>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

namespace limpet::cli {
namespace {

struct Answer {
  int exit_code;
  std::string out;
  std::string err;
};

Answer check(const std::string& config) {
  std::ostringstream out;
  std::ostringstream err;
  const int exit_code = run_check({config}, out, err);
  return {exit_code, out.str(), err.str()};
}

std::string write_config(const std::string& text) {
  const std::string path =
      testing::TempDir() + "check_test_" + testing::UnitTest::GetInstance()->current_test_info()->name() + ".yaml";
  std::ofstream(path) << text;
  return path;
}

TEST(Check, counts_what_is_good) {
  const std::string path = LIMPET_SOURCE_DIR "/deploy/seed.yaml";
  const Answer answer = check(path);
  EXPECT_EQ(answer.exit_code, 0);
  EXPECT_EQ(answer.out, path + ": ok, 2 services, 8 endpoints\n");
  EXPECT_EQ(answer.err, "");
}

TEST(Check, prints_every_error_and_exits_3) {
  const std::string path = write_config("stop: never\nonDeath: hode\nservices: []\n");
  const Answer answer = check(path);
  EXPECT_EQ(answer.exit_code, 3);
  EXPECT_EQ(answer.out, "");
  EXPECT_EQ(answer.err, path + ":1:7: error: stop: cannot use 'never'; write keep or remove\n" + path +
                            ":2:10: error: onDeath: cannot use 'hode'; write hold or bypass\n" + path +
                            ":3:11: warning: services is empty: nothing is balanced\n");
  std::remove(path.c_str());
}

TEST(Check, accepts_warnings) {
  const std::string path = write_config(
      "rules: {file: dump}\nservices: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80, endpoints: [{address: 10.0.0.2}]}]"
      "\n");
  const Answer answer = check(path);
  EXPECT_EQ(answer.exit_code, 0);
  EXPECT_EQ(answer.out, path + ": ok, 1 service, 1 endpoint\n");
  EXPECT_EQ(answer.err.rfind(path + ":1:15: warning: ", 0), 0U) << answer.err;
  std::remove(path.c_str());
}

}  // namespace
}  // namespace limpet::cli
