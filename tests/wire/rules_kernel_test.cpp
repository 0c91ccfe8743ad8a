// What iptables-save prints, and what limpet prints of the same rules: to the letter. In a network of the test's own.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "lb/rules/ruleset_text.h"
#include "tests/unit/rules/rule_samples.h"
#include "tests/wire/divert_private_network.h"

namespace limpet::rules {
namespace {

using limpet::test::Privilege;

std::vector<std::string> rule_lines(const std::string& dump) {
  std::vector<std::string> lines;
  std::size_t from = 0;
  while (from < dump.size()) {
    const std::size_t end = std::min(dump.find('\n', from), dump.size());
    if (dump.compare(from, 3, "-A ") == 0) lines.push_back(dump.substr(from, end - from));
    from = end + 1;
  }
  return lines;
}

class RulesKernel : public testing::TestWithParam<Privilege> {};

/// One rule at a time: an error names it.
void compare(const std::vector<test::RuleSample>& samples, const std::string& tool, net::Family family) {
  for (const test::RuleSample& sample : samples) {
    const std::string table(to_string(sample.table));
    const std::string rule = "-A " + std::string(sample.chain) + " " + sample.written;
    const std::string text = "*" + table + "\n" + rule + "\nCOMMIT\n";
    SCOPED_TRACE(tool + " -t " + table + " " + rule);
    const auto loaded = divert::run({tool + "-restore"}, text);
    ASSERT_TRUE(loaded && loaded->ok()) << (loaded ? loaded->err : loaded.error().message);
    const auto saved = divert::run({tool + "-save", "-t", table});
    ASSERT_TRUE(saved && saved->ok()) << (saved ? saved->err : saved.error().message);

    ASSERT_EQ(rule_lines(saved->out).size(), 1U) << saved->out;
    const ReadRuleset read = parse_ruleset(text, {.family = family});
    ASSERT_TRUE(read.errors.empty()) << read.errors.front().message;
    EXPECT_EQ(rule_lines(print(read.rules, Spelling::as_saved)), rule_lines(saved->out));
    const ReadRuleset dump = parse_ruleset(saved->out, {.family = family});
    ASSERT_TRUE(dump.errors.empty()) << dump.errors.front().message;
    EXPECT_EQ(rule_lines(print(dump.rules, Spelling::as_saved)), rule_lines(saved->out));
  }
}

TEST_P(RulesKernel, PrintAsIptablesSaveDoes) {
  if (const std::string reason = limpet::test::enter_private_network(GetParam()); !reason.empty()) {
    GTEST_SKIP() << reason;
  }
  if (const auto works = divert::run({"iptables-legacy", "-t", "nat", "-S"}); !works || !works->ok()) {
    GTEST_SKIP() << "no iptables-legacy with a table nat here";
  }
  compare(test::kV4Samples, "iptables-legacy", net::Family::v4);
  compare(test::kV6Samples, "ip6tables-legacy", net::Family::v6);
}

INSTANTIATE_TEST_SUITE_P(Privileges, RulesKernel, testing::Values(Privilege::as_is, Privilege::rootless),
                         [](const auto& parameter) {
                           return parameter.param == Privilege::as_is ? "root" : "rootless";
                         });

}  // namespace
}  // namespace limpet::rules
