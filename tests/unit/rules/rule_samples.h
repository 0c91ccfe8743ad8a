// rule_samples.h: rules as people write them, and as iptables-save 1.8.9 prints them.
//
// tests/wire/rules_kernel_test.cpp loads them into a kernel and compares what it prints with `saved`.
#pragma once

#include <vector>

#include "lb/rules/ruleset.h"

namespace limpet::rules::test {

struct RuleSample {
  Table table;
  const char* chain;
  const char* written;
  const char* saved;  // nullptr: as written
};

inline const std::vector<RuleSample> kV4Samples{
    {Table::raw, "OUTPUT", "", nullptr},
    {Table::raw, "OUTPUT", "-s 10.28.8.6 -d 10.0.0.0/255.255.0.0", "-s 10.28.8.6/32 -d 10.0.0.0/16"},
    {Table::raw, "OUTPUT", "! -s 10.28.7.7/14 ! -d 10.31.240.99", "! -s 10.28.0.0/14 ! -d 10.31.240.99/32"},
    {Table::raw, "OUTPUT", "-s 10.0.5.9/255.0.255.0 -d 0.0.0.0/0", "-s 10.0.5.0/255.0.255.0"},
    {Table::raw, "OUTPUT", "-o eth+ -p tcp", nullptr},
    {Table::raw, "PREROUTING", "! -i lo ! -p UDP", "! -i lo ! -p udp"},
    {Table::raw, "OUTPUT", "-p all -j ACCEPT", "-j ACCEPT"},
    {Table::raw, "OUTPUT", "-p 6 -j DROP", "-p tcp -j DROP"},
    {Table::raw, "OUTPUT", "-p 99 -j RETURN", nullptr},
    {Table::raw, "OUTPUT", "-p tcp --dport 80", "-p tcp -m tcp --dport 80"},
    {Table::raw, "OUTPUT", "-p tcp -m tcp ! --sport 1024: ! --dport :1023",
     "-p tcp -m tcp ! --sport 1024:65535 ! --dport 0:1023"},
    {Table::raw, "OUTPUT", "-p udp -m udp --source-port 53 -m comment --comment dns --destination-port 53",
     "-p udp -m udp --sport 53 --dport 53 -m comment --comment dns"},
    {Table::raw, "OUTPUT", "-p sctp -m sctp --dport 5000:5009", nullptr},
    {Table::raw, "OUTPUT", "-p tcp -m multiport --dports 80,443,8000:8080", nullptr},
    {Table::raw, "OUTPUT", "-p udp -m multiport ! --ports 53,123", nullptr},
    {Table::raw, "OUTPUT", "-p tcp -m multiport --source-ports 1,2,3,4,5,6,7,8,9,10,11,12,13,14:15",
     "-p tcp -m multiport --sports 1,2,3,4,5,6,7,8,9,10,11,12,13,14:15"},
    {Table::raw, "OUTPUT", R"(-m comment --comment "he said \"no\" \\ it's")",
     R"(-m comment --comment "he said \"no\" \\ it\'s")"},
    {Table::raw, "OUTPUT", "-m comment --comment plain_word-1", nullptr},
    {Table::raw, "OUTPUT", R"(-m comment --comment "default/php-apache-svc:http cluster IP")", nullptr},
    {Table::raw, "OUTPUT", "-m mark --mark 0x4000/0x4000", nullptr},
    {Table::raw, "OUTPUT", "-m mark ! --mark 16384", "-m mark ! --mark 0x4000"},
    {Table::raw, "OUTPUT", "-m addrtype --dst-type LOCAL", nullptr},
    {Table::raw, "OUTPUT", "-m addrtype ! --src-type LOCAL,BROADCAST --dst-type UNICAST", nullptr},
    {Table::filter, "OUTPUT", "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT", nullptr},
    {Table::filter, "OUTPUT", "-m conntrack ! --ctstate NEW,DNAT", nullptr},
    {Table::filter, "OUTPUT", "-m state --state new", "-m state --state NEW"},
    {Table::filter, "OUTPUT", "-j REJECT", "-j REJECT --reject-with icmp-port-unreachable"},
    {Table::filter, "OUTPUT", "-p tcp -j REJECT --reject-with tcp-reset", nullptr},
    {Table::mangle, "OUTPUT", "-j MARK --set-mark 0x10/0xff", "-j MARK --set-xmark 0x10/0xff"},
    {Table::mangle, "OUTPUT", "-j MARK --set-mark 0x100/0xff", "-j MARK --set-xmark 0x100/0x1ff"},
    {Table::mangle, "OUTPUT", "-j MARK --or-mark 0x4000", "-j MARK --set-xmark 0x4000/0x4000"},
    {Table::mangle, "OUTPUT", "-j MARK --and-mark 0xff", "-j MARK --set-xmark 0x0/0xffffff00"},
    {Table::mangle, "OUTPUT", "-j MARK --xor-mark 0x4000", "-j MARK --set-xmark 0x4000/0x0"},
    {Table::mangle, "OUTPUT", "-j MARK --set-xmark 7", "-j MARK --set-xmark 0x7/0xffffffff"},
    {Table::nat, "OUTPUT", "-p tcp -j DNAT --to-destination 10.28.8.6:80", nullptr},
    {Table::nat, "OUTPUT", "-j DNAT --to-destination 10.28.8.6-10.28.8.9 --random --persistent", nullptr},
    {Table::nat, "OUTPUT", "-p udp -j DNAT --to-destination 10.28.8.6-10.28.8.9:53-55", nullptr},
    {Table::nat, "OUTPUT", "-p udp -j DNAT --to-destination :5300", nullptr},
    {Table::nat, "OUTPUT", "-p tcp -m tcp --dport 8000:8010 -j DNAT --to-destination 10.0.0.1:9000-9010/8000", nullptr},
    {Table::nat, "OUTPUT", "-p tcp -j REDIRECT --to-ports 8080", nullptr},
    {Table::nat, "OUTPUT", "-p tcp -j REDIRECT --to-ports 8080-8090 --random", nullptr},
    {Table::nat, "POSTROUTING", "-j MASQUERADE --random-fully", nullptr},
    {Table::nat, "POSTROUTING", "-p tcp -j MASQUERADE --to-ports 1024-65535", nullptr},
    {Table::nat, "POSTROUTING", "-p udp -j SNAT --to-source 192.0.2.1-192.0.2.4:1024-2047 --random-fully --persistent",
     nullptr},
    {Table::nat, "OUTPUT", "-m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-X --rsource",
     "-m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-X --mask 255.255.255.255 --rsource"},
};

inline const std::vector<RuleSample> kV6Samples{
    {Table::raw, "OUTPUT", "-s fd00::1 ! -d fd00:0:0:1::/64", "-s fd00::1/128 ! -d fd00:0:0:1::/64"},
    {Table::raw, "OUTPUT", "-p icmpv6", "-p ipv6-icmp"},
    {Table::raw, "OUTPUT", "-p udp -m udp --dport 53 -m recent --set --name six",
     "-p udp -m udp --dport 53 -m recent --set --name six --mask ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff --rsource"},
    {Table::raw, "OUTPUT", "-m recent --update --name net --mask ffff:ffff:: --rdest", nullptr},
    {Table::filter, "OUTPUT", "-j REJECT", "-j REJECT --reject-with icmp6-port-unreachable"},
    {Table::nat, "OUTPUT", "-p tcp -j DNAT --to-destination [fd00::2]:80", nullptr},
    {Table::nat, "OUTPUT", "-j DNAT --to-destination fd00::2-fd00::9 --persistent", nullptr},
    {Table::nat, "OUTPUT", "-p udp -j DNAT --to-destination [fd00::2-fd00::9]:53-55", nullptr},
    {Table::nat, "OUTPUT", "-p udp -j DNAT --to-destination :5300", nullptr},
    {Table::nat, "POSTROUTING", "-j MASQUERADE", nullptr},
};

}  // namespace limpet::rules::test
