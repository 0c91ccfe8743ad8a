// `limpet rules import`: the native services of a program, and in what they differ. Expected configurations are written
// by hand from the rules, after kube-proxy's tables of who reaches what; `limpet check` must take each.
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "lb/cli/check.h"
#include "lb/cli/exit_code.h"
#include "lb/cli/rules.h"

namespace limpet::cli {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::StartsWith;

struct Done {
  int exit_code = 0;
  std::string out;
  std::string err;
};

Done import(const std::string& text, const RulesImportOptions& options = {.file = {.file = "-"}}) {
  std::istringstream in(text);
  std::ostringstream out, err;
  const int exit_code = run_rules_import(options, in, out, err);
  return {exit_code, out.str(), err.str()};
}

/// The exit code of `limpet check`, and what it says.
Done checked(const std::string& yaml) {
  const std::string path = testing::TempDir() + "rules_import_test." + std::to_string(::getpid()) + ".yaml";
  std::ofstream(path) << yaml;
  std::ostringstream out, err;
  const int exit_code = run_check({path}, out, err);
  std::remove(path.c_str());
  return {exit_code, out.str(), err.str()};
}

const std::string kHead = "# The services of an iptables program, by `limpet rules import`.\n";

TEST(RulesImport, OfTheSeed) {
  const std::string seed = LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md";
  const Done done = import("", {.file = {.file = seed}, .node = "gke-asuka-default-pool-3d65e6a8-kbb1"});
  EXPECT_EQ(done.exit_code, kExitOk);
  EXPECT_EQ(done.out, kHead +
                          "node:\n"
                          "  name: gke-asuka-default-pool-3d65e6a8-kbb1\n"
                          "  podCIDRs: [10.28.0.0/14]\n"
                          "services:\n"
                          "  - name: default/php-apache-svc:http\n"
                          "    clusterIP: 10.31.240.99\n"
                          "    port: 80\n"
                          "    protocol: TCP\n"
                          "    nodePort: 31332\n"
                          "    externalTrafficPolicy: Local\n"
                          "    sessionAffinity: {clientIP: {timeoutSeconds: 10800}}\n"
                          "    endpoints:\n"
                          "      - {address: 10.28.6.5, port: 80}\n"
                          "      - {address: 10.28.7.6, port: 80}\n"
                          "      - {address: 10.28.8.5, port: 80, nodeName: gke-asuka-default-pool-3d65e6a8-kbb1}\n"
                          "      - {address: 10.28.8.6, port: 80, nodeName: gke-asuka-default-pool-3d65e6a8-kbb1}\n");
  EXPECT_EQ(
      done.err,
      "default/php-apache-svc:http: nodePort 31332: the rules give pods and this node's own processes the 2 local "
      "endpoints, as everybody; here, as in today's kube-proxy, they reach all 4 (short circuit), the node's own "
      "masqueraded\n");
  const Done check = checked(done.out);
  EXPECT_EQ(check.exit_code, kExitOk) << check.err;
  EXPECT_THAT(check.out, HasSubstr("1 service, 4 endpoints"));
}

const std::string kMasquerade =
    "-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A POSTROUTING -j KUBE-POSTROUTING\n"
    "-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000\n"
    "-A KUBE-POSTROUTING -m mark --mark 0x4000/0x4000 -j MASQUERADE\n";
const std::string kEndpoints =
    "-A SEP-A -p tcp -j DNAT --to-destination 10.28.1.1:8080\n-A SEP-B -p tcp -j DNAT --to-destination "
    "10.28.2.2:8080\n-A SVC -m statistic --mode random --probability 0.5 -j SEP-A\n-A SVC -j SEP-B\n";
const std::string kVip = "-d 10.96.0.9/32 -p tcp -m comment --comment \"ns/web:http cluster IP\" -m tcp --dport 80 ";
const std::string kNodePort = "-A KUBE-NODEPORTS -p tcp -m comment --comment ns/web:http -m tcp --dport 30080 ";

std::string service(const std::string& more, const std::string& local_a = "", const std::string& weights = "") {
  return "  - name: ns/web:http\n    clusterIP: 10.96.0.9\n    port: 80\n    protocol: TCP\n" + more +
         "    endpoints:\n      - {address: 10.28.1.1, port: 8080" + local_a + weights +
         "}\n      - {address: 10.28.2.2, port: 8080" + weights + "}\n";
}

TEST(RulesImport, OfKubeProxysLayouts) {
  const std::string vip = "-A KUBE-SERVICES " + kVip + "-j SVC\n";
  const std::string pods = "-A KUBE-SERVICES ! -s 10.28.0.0/14 " + kVip + "-j KUBE-MARK-MASQ\n";
  const std::string here = ", nodeName: this-node";
  const std::string node = "node:\n  name: this-node\n  podCIDRs: [10.28.0.0/14]\nservices:\n";
  struct Case {
    const char* name;
    std::string rules;
    std::string yaml;
    std::vector<std::string> notes;
  };
  const Case cases[] = {
      {"clusterIP", pods + vip, node + service(""), {}},
      {"clusterIP without a detector",
       vip,
       "node:\n  name: this-node\nservices:\n" + service(""),
       {"1 rule takes no part in a service: not imported; `limpet rules explain` lists them"}},  // KUBE-MARK-MASQ's
      {"masqueradeAll",
       "-A KUBE-SERVICES " + kVip + "-j KUBE-MARK-MASQ\n" + vip,
       "node:\n  name: this-node\nservices:\n" + service("    masquerade: always\n"),
       {}},
      {"nodePort, policy Cluster",
       pods + vip + kNodePort + "-j EXT\n-A EXT -j KUBE-MARK-MASQ\n-A EXT -j SVC\n",
       node + service("    nodePort: 30080\n"),
       {}},
      {"nodePort, policy Local, today's short circuit",
       pods + vip + kNodePort +
           "-j EXT\n-A EXT -s 10.28.0.0/14 -j SVC\n-A EXT -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ\n"
           "-A EXT -m addrtype --src-type LOCAL -j SVC\n-A EXT -j SVL\n-A SVL -j SEP-A\n",
       node + service("    nodePort: 30080\n    externalTrafficPolicy: Local\n", here),
       {}},
      {"nodePort, policy Local, nobody local",
       pods + vip + kNodePort + "-j XLB\n-A XLB -s 10.28.0.0/14 -j SVC\n-A XLB -j KUBE-MARK-DROP\n",
       node + service("    nodePort: 30080\n    externalTrafficPolicy: Local\n"),
       {}},
      {"internal policy Local",
       "-A KUBE-SERVICES ! -s 10.28.0.0/14 " + kVip + "-j KUBE-MARK-MASQ\n-A KUBE-SERVICES " + kVip +
           "-j SVL\n-A SVL -j SEP-A\n" + kNodePort + "-j EXT\n-A EXT -j KUBE-MARK-MASQ\n-A EXT -j SVC\n",
       node + service("    nodePort: 30080\n    internalTrafficPolicy: Local\n", here),
       {}},
      {"an external IP is not imported",
       pods + vip +
           "-A KUBE-SERVICES -d 192.0.2.9/32 -p tcp -m comment --comment \"ns/web:http external IP\" -m tcp "
           "--dport 80 -j SVC\n",
       node + service(""),
       {"ns/web:http: externalIP 192.0.2.9:80: a service has one clusterIP and one nodePort here: not imported"}},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    const Done done = import(kMasquerade + kEndpoints + c.rules);
    EXPECT_EQ(done.exit_code, kExitOk);
    EXPECT_EQ(done.out, kHead + c.yaml);
    std::string notes;
    for (const std::string& note : c.notes) notes += note + "\n";
    EXPECT_EQ(done.err, notes);
    const Done check = checked(done.out);
    EXPECT_EQ(check.exit_code, kExitOk) << check.err;
  }
}

TEST(RulesImport, OfHandWrittenRules) {
  // Shares 0.1 and 0.9 of a million; IPv6 addresses in quotation marks.
  const std::string vip = "-A PREROUTING -d fd00::9/128 -p udp -m udp --dport 53 ";
  const Done done =
      import(vip + "-m statistic --mode nth --every 10 --packet 0 -j DNAT --to-destination [fd01::1]:5353\n" + vip +
             "-j DNAT --to-destination fd01::2\n-A OUTPUT -m recent --set --name x\n");
  EXPECT_EQ(done.exit_code, kExitOk);
  EXPECT_EQ(done.out, kHead +
                          "node:\n  name: this-node\nservices:\n"
                          "  - name: imported/fd00--9:port-53\n"
                          "    clusterIP: \"fd00::9\"\n"
                          "    port: 53\n"
                          "    protocol: UDP\n"
                          "    endpoints:\n"
                          "      - {address: \"fd01::1\", port: 5353, weight: 100000}\n"
                          "      - {address: \"fd01::2\", port: 53, weight: 900000}\n");
  EXPECT_THAT(done.err, HasSubstr("round robin (statistic --mode nth) becomes a random choice"));
  EXPECT_THAT(done.err,
              HasSubstr("1 rule takes no part in a service: not imported; `limpet rules explain` lists them"));
  const Done check = checked(done.out);
  EXPECT_EQ(check.exit_code, kExitOk) << check.err;
}

TEST(RulesImport, WhatIsNoServiceOrNoNameIsTold) {
  const Done any = import("-A PREROUTING -d 10.9.9.9 -p gre -j DNAT --to-destination 10.0.0.1\n");
  EXPECT_EQ(any.exit_code, kExitOk);
  EXPECT_EQ(any.out, kHead + "node:\n  name: this-node\nservices: []\n");
  EXPECT_THAT(any.err, HasSubstr("its protocol is none of TCP, UDP, SCTP and UDPLite: not imported"));
  const Done name = import("", {.file = {.file = "-"}, .node = "a: b"});
  EXPECT_EQ(name.exit_code, kExitUsage);
  EXPECT_THAT(name.err, StartsWith("limpet rules import: --node 'a: b' is no name"));
  const Done none = import("prose\n");
  EXPECT_EQ(none.exit_code, kExitConfiguration);
  EXPECT_THAT(none.out, IsEmpty());
}

}  // namespace
}  // namespace limpet::cli
