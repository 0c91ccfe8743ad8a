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
      "node: {serviceCIDRs: [10.96.0.0/12]}\n"
      "services: [{name: a/b:c, clusterIP: 10.0.0.1, port: 80, endpoints: [{address: 10.0.0.2}]}]\n");
  const Answer answer = check(path);
  EXPECT_EQ(answer.exit_code, 0);
  EXPECT_EQ(answer.out, path + ": ok, 1 service, 1 endpoint\n");
  EXPECT_EQ(answer.err.rfind(path + ":1:22: warning: ", 0), 0U) << answer.err;
  std::remove(path.c_str());
}

// An iptables program is read as `limpet run` reads it.

std::string write_program(const std::string& text) {
  const std::string name =
      std::string("check_test_") + testing::UnitTest::GetInstance()->current_test_info()->name() + ".rules";
  std::ofstream(testing::TempDir() + name) << text;
  return name;  // as seen from the configuration's folder
}

TEST(Check, completes_a_program_and_says_how) {
  const std::string dump = LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md";
  const std::string path = write_config("rules: {file: " + dump + "}\n");
  const Answer answer = check(path);
  EXPECT_EQ(answer.exit_code, 0);
  EXPECT_EQ(answer.err, "");
  EXPECT_EQ(answer.out.rfind(path + ": ok, 0 services, 0 endpoints\n" + dump + ": 29 rules, 4 endpoints\n", 0), 0U)
      << answer.out;
  EXPECT_NE(answer.out.find("\n-t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"), std::string::npos)
      << answer.out;
  std::remove(path.c_str());
}

TEST(Check, prints_every_faulty_line_of_a_program_and_exits_3) {
  const std::string name = write_program("-A PREROUTING -j DNAT\n-A PREROUTING -m recent --name A\n");
  const std::string path = write_config("rules: {file: " + name + "}\n");
  const Answer answer = check(path);
  EXPECT_EQ(answer.exit_code, 3);
  EXPECT_EQ(answer.out, "");
  const std::string program = testing::TempDir() + name;
  EXPECT_EQ(answer.err.rfind(program + ":1: ", 0), 0U) << answer.err;
  EXPECT_NE(answer.err.find("\n" + program + ":2: "), std::string::npos) << answer.err;
  std::remove(path.c_str());
}

TEST(Check, refuses_what_cannot_be_diverted_unless_it_is_lenient) {
  const std::string name = write_program("-A PREROUTING -p tcp -j REDIRECT --to-ports 3128\n");
  const std::string program = testing::TempDir() + name;
  for (const bool lenient : {false, true}) {
    const std::string path = write_config("rules: {file: " + name + (lenient ? ", lenient: true}\n" : "}\n"));
    const Answer answer = check(path);
    EXPECT_EQ(answer.exit_code, lenient ? 0 : 3);
    EXPECT_EQ(answer.err.rfind(program + ":1: -j REDIRECT of whatever comes here cannot be diverted", 0), 0U)
        << answer.err;
    EXPECT_EQ(answer.err.find("; not diverted\n") != std::string::npos, lenient) << answer.err;
    std::remove(path.c_str());
  }
}

// 10,000 clients of 48 bytes and 32 stamps of 8 are 3.04 MB, 2.9 MiB.
TEST(Check, refuses_lists_that_do_not_fit_into_their_memory) {
  const std::string name = write_program(
      "-A PREROUTING -d 10.0.0.1 -p tcp -m tcp --dport 80 -m recent --set --name A -j DNAT --to-destination "
      "10.0.0.9\n");
  for (const int mib : {2, 3}) {
    const std::string path = write_config("rules: {file: " + name +
                                          ", recent: {ipListTotal: 10000, memoryMiB: " + std::to_string(mib) + "}}\n");
    const Answer answer = check(path);
    EXPECT_EQ(answer.exit_code, mib == 2 ? 3 : 0) << answer.err;
    EXPECT_EQ(
        answer.err.find(":1: -m recent: recent: list 'A': there is no memory for 10000 entries") != std::string::npos,
        mib == 2)
        << answer.err;
    std::remove(path.c_str());
  }
}

TEST(Check, tells_of_services_that_take_a_programs_destinations) {
  const std::string name = write_program(
      "-A PREROUTING -d 10.0.0.1 -p tcp --dport 80 -j DNAT --to-destination 10.0.0.9\n"
      "-A PREROUTING -m addrtype --dst-type LOCAL -p tcp --dport 30000 -j DNAT --to-destination 10.0.0.9:80\n");
  const std::string path = write_config("rules: {file: " + name +
                                        "}\n"
                                        "node: {podCIDRs: [10.0.0.0/8]}\n"
                                        "services:\n"
                                        "  - {name: a/vip:c, clusterIP: 10.0.0.1, port: 80, endpoints: [{address: "
                                        "10.0.0.2}]}\n"
                                        "  - {name: a/udp:c, clusterIP: 10.0.0.1, port: 80, protocol: UDP, endpoints: "
                                        "[{address: 10.0.0.2}]}\n"
                                        "  - {name: a/node:c, nodePort: 30000, port: 80, endpoints: [{address: "
                                        "10.0.0.2}]}\n");
  const Answer answer = check(path);
  EXPECT_EQ(answer.exit_code, 0);
  const std::string program = testing::TempDir() + name;
  const std::string words = " listens where this rule translates: the service has these connections\n";
  EXPECT_EQ(answer.err, program + ":1: service a/vip:c" + words + program + ":2: service a/node:c" + words);
  std::remove(path.c_str());
}

TEST(Check, a_program_that_is_not_there) {
  const std::string path = write_config("rules: {file: nowhere}\n");
  const Answer answer = check(path);
  EXPECT_EQ(answer.exit_code, 3);
  EXPECT_EQ(answer.err.rfind(testing::TempDir() + "nowhere cannot be read: ", 0), 0U) << answer.err;
  std::remove(path.c_str());
}

}  // namespace
}  // namespace limpet::cli
