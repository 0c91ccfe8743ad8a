// What a partial dump lacks. The expected frame is kube-proxy's own (pkg/proxy/iptables/proxier.go).
#include "lb/rules/completion.h"

#include <fstream>
#include <iterator>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules {
namespace {

using testing::IsEmpty;

std::string completed(const std::string& text) {
  Ruleset rules = test::parsed(text);
  return print(complete(rules), rules.family);
}

TEST(Completion, OfTheSeed) {
  std::ifstream file(LIMPET_SOURCE_DIR "/tests/data/session-affinity-seed.md");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  EXPECT_EQ(completed(text),
            "-t nat -A KUBE-SERVICES -m comment --comment \"kubernetes service nodeports; NOTE: this must be the last "
            "rule in this chain\" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"
            "-t nat -A PREROUTING -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
            "-t nat -A OUTPUT -m comment --comment \"kubernetes service portals\" -j KUBE-SERVICES\n"
            "-t nat -A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"
            "-t nat -A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -m mark "
            "--mark 0x4000/0x4000 -j MASQUERADE\n"
            "-t nat -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n");
}

const std::string kWhole =
    "-A PREROUTING -j KUBE-SERVICES\n-A OUTPUT -j KUBE-SERVICES\n-A POSTROUTING -j KUBE-POSTROUTING\n"
    "-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -m tcp --dport 443 -j KUBE-SVC-X\n"
    "-A KUBE-SERVICES -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS\n"
    "-A KUBE-NODEPORTS -p tcp -m tcp --dport 30001 -j KUBE-SVC-X\n"
    "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000\n"
    "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN\n"
    "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0\n"
    "-A KUBE-POSTROUTING -j MASQUERADE\n"
    "-A KUBE-SVC-X -j KUBE-MARK-MASQ\n-A KUBE-SVC-X -p tcp -j DNAT --to-destination 10.0.0.1:6443\n";

TEST(Completion, LeavesWholeDumpsAndOthersAlone) {
  EXPECT_THAT(completed(kWhole), IsEmpty());
  EXPECT_THAT(completed("-A PREROUTING -p tcp -j DNAT --to-destination 10.0.0.1\n"), IsEmpty());
  EXPECT_THAT(completed(""), IsEmpty());
}

TEST(Completion, TakesTheMarkOfTheDump) {
  EXPECT_EQ(completed("-A KUBE-MARK-MASQ -j MARK --set-xmark 0x8/0x8\n-A KUBE-SVC-X -j KUBE-MARK-MASQ\n"),
            "-t nat -A KUBE-POSTROUTING -m comment --comment \"kubernetes service traffic requiring SNAT\" -m mark "
            "--mark 0x8/0x8 -j MASQUERADE\n"
            "-t nat -A POSTROUTING -m comment --comment \"kubernetes postrouting rules\" -j KUBE-POSTROUTING\n");
}

TEST(Completion, DropsWhatIsMarkedForIt) {
  EXPECT_EQ(
      completed("-A KUBE-XLB-X -j KUBE-MARK-DROP\n"),
      "-t nat -A KUBE-MARK-DROP -j MARK --set-xmark 0x8000/0x8000\n"
      "-t filter -A KUBE-FIREWALL -m comment --comment \"kubernetes firewall for dropping marked packets\" -m mark "
      "--mark 0x8000/0x8000 -j DROP\n"
      "-t filter -A INPUT -j KUBE-FIREWALL\n-t filter -A OUTPUT -j KUBE-FIREWALL\n");
}

}  // namespace
}  // namespace limpet::rules
