// The lists of an iptables program over the API: shown page by page, written to as the kernel's file is.
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lb/control/resources.h"
#include "tests/unit/affinity/recent_fixture.h"
#include "tests/unit/control/fakes.h"

namespace limpet::control {
namespace {

using affinity::from;
using affinity::kRcheck;
using affinity::kSet;
using affinity::RecentLists;
using affinity::RecentMatch;
using nlohmann::ordered_json;
using testing::ElementsAre;
using testing::HasSubstr;

RecentMatch set_in(const std::string& list) {
  RecentMatch rule = kSet;
  rule.name = list;
  return rule;
}

class RecentResources : public testing::Test {
 protected:
  RecentResources() { tables.recent = &lists; }
  Response get(const std::string& target) { return resources.answer(Method::get, target); }
  Response post(const std::string& list, const std::string& text) {
    return resources.answer(Method::post, "/v1/recent/entries?list=" + list, text);
  }
  /// All pages; how many there were.
  std::size_t read(const std::string& target, std::vector<std::string>& clients) {
    std::string cursor;
    for (std::size_t pages = 1;; ++pages) {
      const Response response = get(target + cursor);
      EXPECT_EQ(response.status, 200u) << response.body;
      for (const ordered_json& item : response.body["items"]) clients.push_back(item["client"]);
      if (response.body["next"].is_null()) return pages;
      cursor = "&cursor=" + response.body["next"].get<std::string>();
    }
  }

  // 250 ticks a second: 300 s before boot's end of them are 2^32 - 75000; 2 s after boot, 500 more.
  static flow::Instant two_seconds_after_boot() { return flow::Instant(flow::Seconds(2)); }
  static constexpr std::uint64_t kNow = 4'294'967'296 - 75'000 + 500;

  RecentLists lists{{.capacity = 1000, .per_second = 250}};
  std::shared_ptr<affinity::RecentTable> a = *lists.open(set_in("KUBE-SEP-A"));
  std::shared_ptr<affinity::RecentTable> b = *lists.open(set_in("b c"));
  FakeTables tables;
  Resources resources{tables, two_seconds_after_boot};
};

TEST_F(RecentResources, ListsAreNamed) {
  a->match(kSet, from("203.0.113.7"), 5);
  a->match(kSet, from("203.0.113.8"), 5);
  b->match(kSet, from("203.0.113.8"), 5);
  b->flush();
  // 1000 entries of 48 bytes and 32 stamps of 8.
  EXPECT_EQ(get("/v1/recent").body.dump(),
            R"({"items":[{"list":"KUBE-SEP-A","entries":2,"capacity":1000,"stamps":32,"evicted":0,"starved":0,)"
            R"("reaped":0,"flushed":0,"bytes":304000},{"list":"b c","entries":0,"capacity":1000,"stamps":32,)"
            R"("evicted":0,"starved":0,"reaped":0,"flushed":1,"bytes":304000}],"next":null})");
  const Response first = get("/v1/recent?limit=1");
  EXPECT_EQ(first.body["next"], "1");
  EXPECT_EQ(get("/v1/recent?limit=1&cursor=1").body["items"][0]["list"], "b c");
  EXPECT_EQ(get("/v1/recent?cursor=9").body.dump(), R"({"items":[],"next":null})");
  const RecentLists unlimited({.capacity = affinity::RecentOptions::kUnlimited});
  tables.recent = &unlimited;
  EXPECT_EQ(get("/v1/recent").body.dump(), R"({"items":[],"next":null})");
}

TEST_F(RecentResources, EntriesAreWhatTheKernelShows) {
  a->match(kSet, from("203.0.113.7"), 5);
  a->match(kSet, from("203.0.113.7", 63), 9);
  a->match(kSet, from("2001:db8::7"), 7);
  EXPECT_EQ(get("/v1/recent/entries?list=KUBE-SEP-A").body.dump(),
            R"({"items":[{"client":"203.0.113.7","ttl":63,"last_seen":9,"oldest_pkt":2,"stamps":[5,9]},)"
            R"({"client":"2001:db8::7","ttl":64,"last_seen":7,"oldest_pkt":1,"stamps":[7]}],"next":null})");
  std::vector<std::string> clients;
  read("/v1/recent/entries?list=KUBE-SEP-A&client=2001:db8::/32", clients);
  EXPECT_THAT(clients, ElementsAre("2001:db8::7"));
}

TEST_F(RecentResources, PagesAreBoundedByEntriesAndByStamps) {
  const auto fill = [](affinity::RecentTable& list, std::uint32_t count, int stamps) {
    for (std::uint32_t i = 0; i < count; ++i) {
      for (int n = 0; n < stamps; ++n) list.add(net::Address::from_v4(0x0a000000 + i), 1);
    }
  };
  fill(*a, 1000, 1);
  std::vector<std::string> clients;
  EXPECT_EQ(read("/v1/recent/entries?list=KUBE-SEP-A&limit=250", clients), 4U) << "of two pieces of 128 slots each";
  EXPECT_EQ(clients.size(), 1000U);
  clients.clear();
  EXPECT_EQ(read("/v1/recent/entries?list=KUBE-SEP-A&client=192.0.2.1", clients), 1U);
  EXPECT_EQ(clients.size(), 0U);
  RecentMatch demanding = kRcheck;
  demanding.name = "b c";
  demanding.hitcount = 10'000;
  ASSERT_TRUE(lists.open(demanding));
  fill(*b, 20, 9'000);
  EXPECT_EQ(read("/v1/recent/entries?list=b%20c", clients), 3U) << "eight entries of 9000 are more than 65536";
  EXPECT_EQ(clients.size(), 20U);
  EXPECT_EQ(get("/v1/recent/entries?list=KUBE-SEP-A&cursor=99999999999").body.dump(), R"({"items":[],"next":null})");
}

TEST_F(RecentResources, AreWrittenToAsTheKernelsFile) {
  EXPECT_EQ(post("KUBE-SEP-A", "+203.0.113.7\n").body.dump(), R"({"list":"KUBE-SEP-A","entries":1})");
  EXPECT_EQ(post("KUBE-SEP-A", "+fd00::1").status, 200u);
  EXPECT_THAT(a->records(), ElementsAre(affinity::RecentRecord{ip("203.0.113.7"), 0, 1, kNow, {kNow}},
                                        affinity::RecentRecord{ip("fd00::1"), 0, 1, kNow, {kNow}}));
  EXPECT_TRUE(a->match(kRcheck, from("203.0.113.7"), kNow));
  EXPECT_EQ(post("KUBE-SEP-A", "-198.51.100.1").status, 200u) << "absent is no error";
  EXPECT_EQ(post("KUBE-SEP-A", "-203.0.113.7").body["entries"], 1);
  EXPECT_EQ(post("b%20c", "+203.0.113.7").body["list"], "b c");
  EXPECT_EQ(post("KUBE-SEP-A", "/").body["entries"], 0);
  EXPECT_EQ(b->counts().entries, 1U);
  for (const char* bad : {"", "203.0.113.7", "+203.0.113.7/24", "clear"}) {
    const Response refused = post("KUBE-SEP-A", bad);
    EXPECT_EQ(refused.status, 400u) << bad;
    EXPECT_THAT(refused.body["error"].get<std::string>(), HasSubstr("write +ADDRESS, -ADDRESS or /")) << bad;
  }
  EXPECT_LT(post("KUBE-SEP-A", std::string(400'000, 'x')).body["error"].get<std::string>().size(), 200U);
}

TEST_F(RecentResources, RefusalsSayWhatToDo) {
  EXPECT_EQ(post("none", "/").status, 404u);
  EXPECT_THAT(get("/v1/recent/entries?list=none").body["remedy"].get<std::string>(), HasSubstr("GET /v1/recent names"));
  EXPECT_EQ(get("/v1/recent/entries").status, 400u);
  EXPECT_EQ(get("/v1/recent?list=KUBE-SEP-A").status, 400u);
  EXPECT_EQ(resources.answer(Method::erase, "/v1/recent/entries?list=KUBE-SEP-A").body["remedy"], "use GET or POST");
  EXPECT_EQ(resources.answer(Method::post, "/v1/recent", "/").status, 405u);
  tables.recent = nullptr;
  for (const char* target : {"/v1/recent", "/v1/recent/entries?list=KUBE-SEP-A"}) {
    EXPECT_EQ(get(target).status, 404u);
    EXPECT_THAT(get(target).body["error"].get<std::string>(), HasSubstr("no iptables program runs here"));
  }
  EXPECT_EQ(post("KUBE-SEP-A", "/").status, 404u);
}

}  // namespace
}  // namespace limpet::control
