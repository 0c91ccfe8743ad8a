// RecentTable against the plainest list: the same matches and the same entries, in the same order, after every packet.
#include <string>

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "lb/affinity/recent_table.h"
#include "tests/property/naive_recent.h"

namespace limpet::affinity {
namespace {

template <typename T>
T draw(T below) {
  return *rc::gen::inRange<T>(0, below);
}
bool one_in(int n) {
  return draw(n) == 0;
}

/// What check() lets pass. `longest`: the largest hitcount.
RecentMatch some_rule(std::uint32_t longest) {
  RecentMatch rule;
  rule.operation = static_cast<RecentOperation>(draw(4));
  rule.inverted = one_in(3);
  rule.by_destination = one_in(4);
  if (rule.operation == RecentOperation::rcheck || rule.operation == RecentOperation::update) {
    if (one_in(2)) rule.seconds = 1 + draw(3U);
    if (one_in(8)) rule.seconds = 17179872;  // 704 ticks at 250 Hz
    rule.reap = rule.seconds != 0 && one_in(2);
    if (one_in(2)) rule.hitcount = draw(longest + 1);
    rule.rttl = one_in(3);
  }
  return rule;
}

net::Address some_address() {
  const auto number = draw(16U);
  if (!one_in(3)) return net::Address::from_v4(0x0a090000 + number * 13);
  return *net::Address::parse("2001:db8:" + std::to_string(number) + "::1");
}

RecentPacket some_packet() {
  const net::Address source = some_address();
  const char* const destination = source.is_v4() ? (one_in(2) ? "10.9.0.13" : "10.9.0.26") : "2001:db8:1::1";
  return {source, *net::Address::parse(destination), static_cast<std::uint8_t>(63 * draw(2) + draw(3))};
}

RC_GTEST_PROP(RecentTable, AgreesWithThePlainestList, ()) {
  const RecentOptions options{.capacity = 1 + draw(12U),
                              .least_stamps = one_in(3) ? draw(20U) : 0,
                              .per_second = one_in(4) ? 1000U : 250U,
                              .key = {*rc::gen::arbitrary<std::uint64_t>(), 1}};
  RecentMatch first = some_rule(4);
  const char* const masks[] = {"255.255.255.240", "255.255.255.0", "ffff:ffff::"};
  if (one_in(2)) first.mask = RecentMask(*net::Address::parse(masks[draw(3)]));
  RecentTable table(options, first);
  NaiveRecent naive(options, first);

  std::uint64_t now = *rc::gen::element<std::uint64_t>(4294667296, ~std::uint64_t{0} - 500, 0);
  const int steps = draw(1000);
  for (int step = 0; step < steps; ++step) {
    now += *rc::gen::element<std::uint64_t>(0, 1, 30, 249, 250, 251, 499, 704, 705);
    switch (draw(20)) {
      case 0: {
        const RecentMatch rule = some_rule(one_in(4) ? 40 : 4);
        table.admit(rule);
        naive.admit(rule);
        break;
      }
      case 1: {
        const net::Address address = some_address();
        table.add(address, now);
        naive.add(address, now);
        break;
      }
      case 2: {
        const net::Address address = some_address();
        table.erase(address);
        naive.erase(address);
        break;
      }
      case 3:
        if (one_in(8)) {
          table.flush();
          naive.flush();
        }
        break;
      default: {
        const RecentMatch rule = some_rule(6);
        const RecentPacket packet = some_packet();
        RC_ASSERT(table.match(rule, packet, now) == naive.match(rule, packet, now));
      }
    }
    RC_ASSERT(table.records() == naive.records());
    RC_ASSERT(table.counts().entries == naive.records().size());
  }
}

}  // namespace
}  // namespace limpet::affinity
