// `limpet rules explain`: what is said of a program, of what limpet cannot honour, and of what the kernel would not load.
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include "lb/cli/exit_code.h"
#include "lb/cli/rules.h"

namespace limpet::cli {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

const std::string kSeed = LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md";

struct Done {
  int exit_code = 0;
  std::string out;
  std::string err;
};

Done explain(const std::string& text, RulesExplainOptions options = {}) {
  if (options.file.file.empty()) options.file.file = "-";
  std::istringstream in(text);
  std::ostringstream out, err;
  const int exit_code = run_rules_explain(options, in, out, err);
  return {exit_code, out.str(), err.str()};
}
json object(const std::string& text, RulesExplainOptions options = {}) {
  options.json = true;
  const Done done = explain(text, options);
  EXPECT_EQ(done.exit_code, kExitOk) << done.err;
  return json::parse(done.out);
}

TEST(RulesExplain, ObjectOfTheSeed) {
  // The document: two pods of four are on this node; the dump's 0.25, 0.33333 and 0.5 are a quarter each.
  const json found = object("", {.file = {.file = kSeed}});
  ASSERT_EQ(found["services"].size(), 1U);
  const json& service = found["services"][0];
  EXPECT_EQ(service["name"], "default/php-apache-svc:http");
  EXPECT_EQ(service["protocol"], "tcp");
  EXPECT_EQ(service["frontends"], json::parse(R"([
    {"kind": "clusterIP", "address": "10.31.240.99", "local": false, "port": 80, "routes": [
      {"action": "dnat", "hooks": ["PREROUTING", "OUTPUT"], "when": "", "view": "KUBE-SVC-TLHPL6Z5YI33DALW",
       "masquerade": ["! -s 10.28.0.0/14"], "line": 50}]},
    {"kind": "nodePort", "address": null, "local": true, "port": 31332, "routes": [
      {"action": "dnat", "hooks": ["PREROUTING", "OUTPUT"], "when": "", "view": "KUBE-XLB-TLHPL6Z5YI33DALW",
       "masquerade": [], "line": 60}]}])"));
  const json affinity = {{"seconds", 10800}, {"by", "source"}, {"mask", "255.255.255.255"}, {"complete", true}};
  ASSERT_EQ(service["views"].size(), 2U);
  for (const json& view : service["views"]) {
    EXPECT_EQ(view["affinity"], affinity);
    EXPECT_EQ(view["even"], true);
    EXPECT_EQ(view["rest"], 0.0);
  }
  const json& all = service["views"][0]["endpoints"];
  ASSERT_EQ(all.size(), 4U);
  for (const json& one : all) EXPECT_NEAR(one["share"].get<double>(), 0.25, 1e-5);
  EXPECT_EQ(all[1]["endpoint"], "10.28.7.6:80");
  EXPECT_EQ(all[1]["draw"], "probability 0.33332999982");
  EXPECT_EQ(all[1]["lists"], json({"KUBE-SEP-LRDQVXAG5PE7TSRT"}));
  EXPECT_EQ(all[1]["masquerade"], json({"-s 10.28.7.6/32"}));
  EXPECT_EQ(all[1]["line"], 56);
  const json& local = service["views"][1]["endpoints"];
  ASSERT_EQ(local.size(), 2U);
  EXPECT_EQ(local[0]["endpoint"], "10.28.8.5:80");
  EXPECT_EQ(local[1]["endpoint"], "10.28.8.6:80");
  EXPECT_EQ(local[1]["draw"], "the rest");
  EXPECT_EQ(local[1]["share"], 0.5);
  EXPECT_EQ(found["masquerade"],
            json::parse(R"([{"chain": "KUBE-POSTROUTING", "rule": 1, "when": "--mark 0x4000/0x4000"}])"));
  EXPECT_EQ(found["completed"].size(), 6U);
  EXPECT_THAT(found["apart"], IsEmpty());
  EXPECT_EQ(found["rules"], 29);
  // By hand: SVC asks four lists and picks from four, XLB from two; the other chains are short.
  ASSERT_EQ(found["compiled"].size(), 12U);
  EXPECT_EQ(found["compiled"][0]["line"], 50);
  EXPECT_EQ(found["compiled"][0]["how"], "recent");
  EXPECT_EQ(found["compiled"][0]["run"], 4);
  EXPECT_THAT(found["compiled"][4]["rule"], StartsWith("nat KUBE-SVC-TLHPL6Z5YI33DALW:5 "));
  EXPECT_EQ(found["compiled"][4]["how"], "random");
  EXPECT_EQ(found["compiled"][11]["run"], 2);
  EXPECT_EQ(found["literal"].size(), 17U);
}

TEST(RulesExplain, TableOfTheSeed) {
  const Done done = explain("", {.file = {.file = kSeed}});
  EXPECT_EQ(done.exit_code, kExitOk);
  EXPECT_THAT(done.err, IsEmpty());
  for (const char* const line : {
           "service default/php-apache-svc:http  tcp\n",
           "  clusterIP 10.31.240.99:80\n    everybody                      -> KUBE-SVC-TLHPL6Z5YI33DALW, masqueraded "
           "where ! -s 10.28.0.0/14\n",
           "  nodePort 31332\n    everybody                      -> KUBE-XLB-TLHPL6Z5YI33DALW\n",
           "  view KUBE-SVC-TLHPL6Z5YI33DALW: 4 endpoints, affinity 10800 s by source\n",
           "    10.28.6.5:80           1/4    25.0000 %  probability 0.25000000000, masqueraded where -s "
           "10.28.6.5/32\n",
           "  view KUBE-XLB-TLHPL6Z5YI33DALW: 2 endpoints, affinity 10800 s by source\n",
           "    10.28.8.6:80           1/2    50.0000 %  the rest, masqueraded where -s 10.28.8.6/32\n",
           "  -t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n",
           "rules       29: 12 compiled, 17 stay literal\n",
           "compiled    one look at who is on which list: lines 50-53, 60-61\n",
           "compiled    one draw for each run: lines 55-58, 62-63\n",
       }) {
    EXPECT_THAT(done.out, HasSubstr(line));
  }
}

TEST(RulesExplain, TableOfHandWrittenRules) {
  const std::string vip = "-A PREROUTING -d 10.9.9.9/32 -p tcp -m tcp --dport 80 ";
  const Done done = explain(vip + "-i lo -j ACCEPT\n" + vip +
                            "-m statistic --mode nth --every 4 --packet 0 -j DNAT --to-destination 10.0.0.1\n" + vip +
                            "-m statistic --mode random --probability 0.5 -j DNAT --to-destination 10.0.0.2:81\n"
                            "-A PREROUTING -p udp -m udp --dport 5 -m recent --set --name x\n");
  EXPECT_EQ(done.exit_code, kExitOk);
  // 1/4, then half of 3/4; the same rests.
  EXPECT_EQ(done.out,
            "service (no comment names it)  tcp\n"
            "  address 10.9.9.9:80\n"
            "    -i lo                          left alone (PREROUTING only)\n"
            "    everybody else                 -> PREROUTING:2-3 (PREROUTING only)\n"
            "  view PREROUTING:2-3: 2 endpoints, no affinity\n"
            "    10.0.0.1                25.0000 %  every 4 packet 0\n"
            "    10.0.0.2:81             37.5000 %  probability 0.50000000000\n"
            "    (next rule)             37.5000 %\n"
            "\n"
            "apart from these services\n"
            "  line 4  nat PREROUTING:4 -p udp -m udp --dport 5 -m recent --set --name x --mask 255.255.255.255 "
            "--rsource\n"
            "    recent or statistic, but not as part of a cascade over endpoints\n"
            "\n"
            "rules       4: 0 compiled, 4 stay literal\n"
            "literal     one of few: looked at as fast as looked up: line 1\n"
            "literal     alone: no rule beside it has the same conditions: lines 2-3\n"
            "literal     remembers whoever comes: line 4\n");
}

TEST(RulesExplain, WhatCannotBeHonouredIsNamed) {
  struct Case {
    const char* name;
    std::string text;
    std::string error;    // begins so
    std::string lenient;  // what is said of it then; "": refused too
  };
  const std::string good = "-A PREROUTING -p tcp --dport 1 -j DNAT --to-destination 10.0.0.1\n";
  const Case cases[] = {
      {"an unknown match", good + "-A PREROUTING -m nfacct --nfacct-name x -j RETURN\n", "standard input:2: ", ":2: "},
      {"a jump to nowhere", good + "-A PREROUTING -j NOWHERE\n", "standard input:2: -j NOWHERE: there is no such chain",
       ":2: -j NOWHERE"},
      {"a loop", good + "-A A -j B\n-A B -j A\n", "standard input:3: -j A: is a loop", ":3: -j A"},
      {"a set that is not there", good + "-A PREROUTING -m set --match-set s src -j RETURN\n",
       "standard input:2: -m set: there is no set 's'", ":2: -m set"},
      {"no rules", "prose\n", "standard input: holds no iptables rules; give the output of iptables-save", ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Done strict = explain(c.text);
    EXPECT_EQ(strict.exit_code, kExitConfiguration);
    EXPECT_THAT(strict.out, IsEmpty());
    EXPECT_THAT(strict.err, StartsWith(c.error));
    const Done lenient = explain(c.text, {.file = {.file = "-", .lenient = true}});
    EXPECT_EQ(lenient.exit_code, c.lenient.empty() ? kExitConfiguration : kExitOk);
    if (c.lenient.empty()) continue;
    EXPECT_THAT(lenient.err, HasSubstr(c.lenient));
    EXPECT_THAT(lenient.err, HasSubstr("; left out\n"));
    EXPECT_THAT(lenient.out, HasSubstr("10.0.0.1"));
  }
}

TEST(RulesExplain, WhatIsLeftOutTakesNoPart) {
  RulesExplainOptions options{.file = {.file = "-", .lenient = true}};
  const json found =
      object("-A PREROUTING -p tcp --dport 1 -j DNAT --to-destination 10.0.0.1\n-A PREROUTING -j NOWHERE\n", options);
  EXPECT_EQ(found["rules"], 1);
  EXPECT_EQ(found["literal"][0]["line"], 1);
  EXPECT_EQ(found["skipped"][0]["line"], 2);
}

TEST(RulesExplain, BareRulesBelongToTheTableThatIsAskedFor) {
  const json found =
      object("-A FORWARD -d 10.0.0.1 -p tcp --dport 80 -j REJECT\n", {.file = {.file = "-", .table = "filter"}});
  EXPECT_EQ(found["services"][0]["frontends"][0]["routes"][0]["action"], "reject");
}

TEST(RulesExplain, AFileThatCannotBeReadIsNamed) {
  for (const std::string path : {LIMPET_SOURCE_DIR "/none", LIMPET_SOURCE_DIR}) {
    const Done done = explain("", {.file = {.file = path}});
    EXPECT_EQ(done.exit_code, kExitConfiguration);
    EXPECT_THAT(done.err, StartsWith(path + ": cannot be read: "));
    EXPECT_THAT(done.err, HasSubstr("name a readable file"));
  }
}

TEST(RulesExplain, SetsComeFromTheirOwnFile) {
  const std::string sets = testing::TempDir() + "rules_explain_sets." + std::to_string(::getpid());
  std::ofstream(sets) << "create s hash:ip family inet\nadd s 192.0.2.1\n";
  const json found =
      object("-A PREROUTING -p tcp --dport 1 -m set --match-set s src -j DNAT --to-destination 10.0.0.1\n",
             {.file = {.file = "-", .ipset = sets}});
  EXPECT_EQ(found["services"][0]["frontends"][0]["routes"][0]["when"], "--match-set s src");
  std::ofstream(sets) << "create s nonsense\n";
  const Done done = explain("-A PREROUTING -j RETURN\n", {.file = {.file = "-", .ipset = sets}});
  EXPECT_EQ(done.exit_code, kExitConfiguration);
  EXPECT_THAT(done.err, StartsWith(sets + ":1: "));
}

}  // namespace
}  // namespace limpet::cli
