// Sets as `ipset save` prints them, and who is in them.
#include "lb/rules/ip_sets.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const std::string kSaved = R"(create clients hash:ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x2b
add clients 10.0.0.1
add clients 10.0.0.4/30
create nets hash:net family inet hashsize 1024 maxelem 65536 counters
add nets 10.0.0.0/8 packets 5 bytes 300
add nets 10.1.0.0/16 nomatch packets 0 bytes 0
add nets 10.1.2.0/24 packets 0 bytes 0
create web hash:ip,port family inet hashsize 1024 maxelem 65536 comment
add web 192.0.2.1,tcp:80 comment "the shop"
add web 192.0.2.1,udp:53
create pairs hash:net,port,net family inet hashsize 1024 maxelem 65536
add pairs 10.0.0.0/8,tcp:80,192.0.2.0/24
create ports bitmap:port range 0-1024
add ports 80
create six hash:net family inet6 hashsize 1024 maxelem 65536
add six fd00::/64
)";

TEST(IpSets, AreLookedInto) {
  struct Case {
    const char* rule;
    const char* from;
    const char* to;
    bool in;
  };
  const Case cases[] = {
      {"clients src", "10.0.0.1:1", "192.0.2.1:80", true},
      {"clients dst", "10.0.0.1:1", "192.0.2.1:80", false},
      {"clients src", "10.0.0.2:1", "192.0.2.1:80", false},
      {"clients src", "10.0.0.7:1", "192.0.2.1:80", true},
      {"nets src", "10.9.9.9:1", "192.0.2.1:80", true},
      {"nets src", "10.1.9.9:1", "192.0.2.1:80", false},
      {"nets src", "10.1.2.9:1", "192.0.2.1:80", true},
      {"web dst,dst", "10.9.9.9:1", "192.0.2.1:80", true},
      {"web dst,dst", "10.9.9.9:1", "192.0.2.1:53", false},  // udp:53 only
      {"web dst,src", "10.9.9.9:80", "192.0.2.1:1", true},
      {"web dst", "10.9.9.9:1", "192.0.2.1:80", false},  // too few sides
      {"pairs src,dst,dst", "10.9.9.9:1", "192.0.2.77:80", true},
      {"pairs src,dst,dst", "10.9.9.9:1", "192.0.3.77:80", false},
      {"ports dst", "10.9.9.9:1", "192.0.2.1:80", true},
      {"ports src", "10.9.9.9:1", "192.0.2.1:80", false},
      {"six src", "10.9.9.9:1", "192.0.2.1:80", false},
      {"six src", "[fd00::5]:1", "[fd00:1::]:80", true},
      {"six dst", "[fd00::5]:1", "[fd00:1::]:80", false},
  };
  const IpSets sets = parse_ip_sets(kSaved, "sets");
  ASSERT_THAT(sets.errors, IsEmpty());
  for (const Case& c : cases) {
    SCOPED_TRACE(std::string(c.rule) + " " + c.from + " " + c.to);
    for (const bool inverted : {false, true}) {
      test::Bench bench("-A X -m set " + std::string(inverted ? "! " : "") + "--match-set " + c.rule + "\n",
                        {.sets = &sets});
      bench.facts.tuple = test::tcp(c.from, c.to);
      EXPECT_EQ(bench.path("X") == "X:1", c.in != inverted);
    }
  }
}

TEST(IpSets, WhatCannotBeHonouredIsNamed) {
  const std::pair<const char*, const char*> cases[] = {
      {"create s hash:mac\n", "hash:mac"},
      {"create s list:set size 8\n", "list:set"},
      {"create s hash:ip,port,ip,port\n", "hash:ip,port,ip,port"},  // ipset has at most three parts
      {"create s hash:ip family inet timeout 60\n", "timeout"},
      {"create s hash:ip family inet netmask 24\n", "netmask"},
      {"add s 10.0.0.1\n", "not created"},
      {"create s hash:ip\nadd s fd00::1\n", "fd00::1"},
      {"create s hash:ip\nadd s 10.0.0.1,80\n", "10.0.0.1,80"},
      {"create s hash:ip,port\nadd s 10.0.0.1\n", "10.0.0.1"},
      {"create s hash:ip,port\nadd s 10.0.0.1,tcp:70000\n", "70000"},
      {"create s hash:ip\nadd s 10.0.0.1 timeout 5\n", "timeout"},
      {"create s hash:ip\ncreate s hash:ip\n", "before"},
      {"destroy s\n", "destroy"},
  };
  for (const auto& [text, words] : cases) {
    SCOPED_TRACE(text);
    const IpSets sets = parse_ip_sets(text, "sets");
    ASSERT_THAT(sets.errors, SizeIs(1));
    EXPECT_THAT(sets.errors[0].message, HasSubstr(words));
    EXPECT_EQ(sets.errors[0].line, std::string(text).find('\n') + 1 == std::string(text).size() ? 1U : 2U);
  }
}

}  // namespace
}  // namespace limpet::rules
