// Which address of a range nf_nat took: recorded from Linux 6.18, one connection a line.
#include "lb/rules/nat_choice.h"

#include <map>
#include <string>

#include <gtest/gtest.h>

#include "tests/unit/rules/rules_bench.h"

namespace limpet::rules {
namespace {

struct Recorded {
  const char* range;
  bool persistent;
  const char* source;
  const char* destination;
  const char* chosen;
};

NatRange::Addresses range_of(const std::string& text) {
  const std::size_t dash = text.find('-');
  return {*net::Address::parse(text.substr(0, dash)), *net::Address::parse(text.substr(dash + 1))};
}

TEST(NatChoice, AddressIsTheKernels) {
  const Recorded recorded[] = {
      {"127.1.0.3-127.1.0.9", false, "127.0.0.5", "198.18.0.1", "127.1.0.5"},
      {"127.1.0.3-127.1.0.9", false, "127.0.0.6", "198.18.0.1", "127.1.0.7"},
      {"127.1.0.3-127.1.0.9", false, "127.0.0.7", "198.18.0.1", "127.1.0.9"},
      {"127.1.0.3-127.1.0.9", false, "127.9.8.7", "198.18.0.1", "127.1.0.4"},
      {"127.1.0.3-127.1.0.9", false, "127.0.0.5", "198.18.0.2", "127.1.0.4"},
      {"127.1.0.3-127.1.0.9", false, "127.0.0.6", "198.18.3.2", "127.1.0.3"},
      {"127.1.0.3-127.1.0.9", true, "127.0.0.5", "198.18.0.1", "127.1.0.9"},
      {"127.1.0.3-127.1.0.9", true, "127.0.0.6", "198.18.0.1", "127.1.0.3"},
      {"127.1.0.3-127.1.0.9", true, "127.0.0.7", "198.18.0.1", "127.1.0.4"},
      {"127.1.0.3-127.1.0.9", true, "127.9.8.7", "198.18.0.1", "127.1.0.3"},
      {"127.1.0.3-127.1.0.9", true, "127.0.0.5", "198.18.0.2", "127.1.0.9"},
      {"127.1.0.3-127.1.0.9", true, "127.0.0.6", "198.18.3.2", "127.1.0.3"},
      {"127.1.0.0-127.1.255.255", false, "127.0.0.5", "198.18.0.1", "127.1.81.89"},
      {"127.1.0.0-127.1.255.255", false, "127.0.0.6", "198.18.0.1", "127.1.177.124"},
      {"127.1.0.0-127.1.255.255", false, "127.0.0.7", "198.18.0.1", "127.1.229.213"},
      {"127.1.0.0-127.1.255.255", false, "127.9.8.7", "198.18.0.1", "127.1.62.242"},
      {"127.1.0.0-127.1.255.255", false, "127.0.0.5", "198.18.0.2", "127.1.54.3"},
      {"127.1.0.0-127.1.255.255", false, "127.0.0.6", "198.18.3.2", "127.1.33.137"},
      {"fd01::3-fd01::9", false, "fd00::1", "2001:db8:f::1", "fd01::7"},
      {"fd01::3-fd01::9", false, "fd00::2", "2001:db8:f::1", "fd01::6"},
      {"fd01::3-fd01::9", false, "fd00::2", "2001:db8:f::7", "fd01::5"},
      {"fd01::3-fd01::9", false, "::1", "2001:db8:f::9", "fd01::5"},
      {"fd01::3-fd01::9", true, "fd00::1", "2001:db8:f::1", "fd01::8"},
      {"fd01::3-fd01::9", true, "fd00::2", "2001:db8:f::1", "fd01::3"},
      {"fd01::3-fd01::9", true, "fd00::2", "2001:db8:f::7", "fd01::3"},
      {"fd01::3-fd01::9", true, "::1", "2001:db8:f::9", "fd01::4"},
      {"fd02::-fd02:0:0:1::5", false, "fd00::1", "2001:db8:f::1", "fd02:0:0:1::3"},
      {"fd02::-fd02:0:0:1::5", false, "fd00::2", "2001:db8:f::1", "fd02:0:0:1::3"},
      {"fd02::-fd02:0:0:1::5", false, "fd00::2", "2001:db8:f::7", "fd02::6528:8277:12aa:aa1c"},
      {"fd02::-fd02:0:0:1::5", false, "::1", "2001:db8:f::9", "fd02::5be5:e5bc:e700:e5"},
      {"fd02::-fd02:0:0:1::5", true, "fd00::1", "2001:db8:f::1", "fd02:0:0:1::5"},
      {"fd02::-fd02:0:0:1::5", true, "fd00::2", "2001:db8:f::1", "fd02::16ec:da2c:16ec:da2c"},
      {"fd02::-fd02:0:0:1::5", true, "fd00::2", "2001:db8:f::7", "fd02::16ec:da2c:16ec:da2c"},
      {"fd02::-fd02:0:0:1::5", true, "::1", "2001:db8:f::9", "fd02::3e12:72a8:3e12:72a8"},
  };
  for (const Recorded& r : recorded) {
    const net::Tuple connection{
        net::Protocol::udp, {*net::Address::parse(r.source), 1000}, {*net::Address::parse(r.destination), 53}};
    EXPECT_EQ(choose_address(range_of(r.range), connection, r.persistent).to_string(), r.chosen)
        << r.range << " " << r.source << " " << r.destination << " " << r.persistent;
  }
}

TEST(NatChoice, PortsAreKeptShiftedOrDrawn) {
  pick::Rng rng(1);
  const net::Tuple connection = test::tcp("10.0.0.1:1000", "10.0.0.2:80");
  const auto to = [&](const std::string& text, bool random = false) {
    const Ruleset rules =
        test::parsed("-A X -p tcp -j DNAT --to-destination " + text + (random ? " --random" : "") + "\n");
    return choose_destination(std::get<Dnat>(rules.tables[0].chains[0].rules[0].target), connection, rng).to_string();
  };
  EXPECT_EQ(to("192.0.2.1"), "192.0.2.1:80");
  EXPECT_EQ(to("192.0.2.1:8080"), "192.0.2.1:8080");
  EXPECT_EQ(to(":8080"), "10.0.0.2:8080");
  EXPECT_EQ(to("192.0.2.1:70-90"), "192.0.2.1:80");           // 80 is in the range
  EXPECT_EQ(to("192.0.2.1:8000-8009/75"), "192.0.2.1:8005");  // 80 - 75
  EXPECT_EQ(to("192.0.2.1:8000-8009/61"), "192.0.2.1:8009");  // 19 mod 10
  // Drawn: 3000 of three ports; 5 sigma of a share of 1/3 are 129.
  for (const bool random : {false, true}) {
    std::map<std::string, int> seen;
    for (int i = 0; i < 3000; ++i) ++seen[to(random ? "192.0.2.1:79-81" : "192.0.2.1:90-92", random)];
    ASSERT_EQ(seen.size(), 3U);
    for (const auto& [port, count] : seen) EXPECT_NEAR(count, 1000, 129) << port;
  }
}

}  // namespace
}  // namespace limpet::rules
