#include "lb/divert/doctor_diagnosis.h"

#include <string>

#include <gtest/gtest.h>

#include "lb/divert/doctor_packet.h"

namespace limpet::divert {
namespace {

Check found(const char* name) {
  return {"", name, CheckStatus::found, "seen"};
}
Check missing(const char* name, const char* words) {
  return {"", name, CheckStatus::missing, words};
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

TEST(DoctorDatapaths, RewriteWorksWhereAPacketCameThrough) {
  const Datapath rewrite = conclude_datapaths({found("NFQUEUE"), found("a packet, IPv4"), found("a packet, IPv6")})[0];
  EXPECT_EQ(rewrite.name, "rewrite");
  EXPECT_TRUE(rewrite.works);
  EXPECT_TRUE(contains(rewrite.reason, "IPv4 and IPv6"));
}

TEST(DoctorDatapaths, OneFamilyIsEnoughAndTheOtherIsNamed) {
  const Datapath rewrite =
      conclude_datapaths({found("NFQUEUE"), found("a packet, IPv4"), missing("a packet, IPv6", "no address on lo")})[0];
  EXPECT_TRUE(rewrite.works);
  EXPECT_TRUE(contains(rewrite.reason, "IPv4 only; the other family: no address on lo")) << rewrite.reason;
}

TEST(DoctorDatapaths, WhatEveryPartClaimsDoesNotCountAgainstThePacket) {
  const Datapath rewrite = conclude_datapaths({found("NFQUEUE"), found("iptables-nft IPv4"),
                                               missing("a packet, IPv4", "not queued at INPUT"),
                                               missing("a packet, IPv6", "not queued at OUTPUT")})[0];
  EXPECT_FALSE(rewrite.works);
  EXPECT_TRUE(contains(rewrite.reason, "not queued at INPUT")) << rewrite.reason;
}

TEST(DoctorDatapaths, WithoutNfqueueThatIsTheReason) {
  const Datapath rewrite =
      conclude_datapaths({missing("NFQUEUE", "binding a queue: words"), missing("a packet, IPv4", "other words")})[0];
  EXPECT_FALSE(rewrite.works);
  EXPECT_EQ(rewrite.reason, "NFQUEUE: binding a queue: words");
}

TEST(DoctorDatapaths, NothingProbedNothingWorks) {
  for (const Datapath& datapath : conclude_datapaths({})) EXPECT_FALSE(datapath.works) << datapath.name;
}

TEST(DoctorDatapaths, WhatThisVersionLacksSaysWhatItWouldNeed) {
  const Datapaths all = conclude_datapaths({found("NFQUEUE"), found("connection tracking"), found("policy routing")});
  EXPECT_EQ(all[1].name, "offload");
  EXPECT_FALSE(all[1].works);
  EXPECT_TRUE(contains(all[1].reason, "not in this version")) << all[1].reason;
  EXPECT_TRUE(contains(all[1].reason, "not found here: nat table")) << all[1].reason;
  EXPECT_EQ(all[2].name, "route");
  EXPECT_FALSE(all[2].works);
  EXPECT_TRUE(contains(all[2].reason, "this kernel has it")) << all[2].reason;
}

TEST(DoctorPacket, RulesForNftAreThoseOfTheOtherBackEnds) {
  // By hand: raw is -300 and mangle -150 (linux/netfilter_ipv4.h).
  EXPECT_EQ(render_nft_probe(net::Family::v6),
            "table ip6 limpet-probe {\n"
            "  chain output {\n"
            "    type filter hook output priority -300;\n"
            "    udp dport 4001 queue num 0\n"
            "  }\n"
            "  chain prerouting {\n"
            "    type filter hook prerouting priority -300;\n"
            "    udp dport 4002 queue num 0\n"
            "  }\n"
            "  chain postrouting {\n"
            "    type filter hook postrouting priority -150;\n"
            "    meta mark & 0x1000 == 0x1000 queue num 0\n"
            "  }\n"
            "  chain input {\n"
            "    type filter hook input priority -150;\n"
            "    udp dport 4003 queue num 0\n"
            "  }\n"
            "}\n");
}

}  // namespace
}  // namespace limpet::divert
