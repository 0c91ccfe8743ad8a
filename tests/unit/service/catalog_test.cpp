// What a change of one service changes, and what it leaves alone.
#include "lb/service/catalog.h"

#include <algorithm>
#include <random>
#include <set>

#include <gmock/gmock.h>

#include "tests/unit/service/fixture.h"

namespace limpet::service {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Service service(const std::string& name, const std::string& vip, std::uint16_t node_port = 0) {
  Service result;
  result.name = name;
  result.cluster_ip = ip(vip);
  result.port = 80;
  result.node_port = node_port;
  result.affinity_timeout = flow::Seconds(60);
  result.endpoints = {local_endpoint("10.28.8.5:80"), remote_endpoint("10.28.6.5:80")};
  return result;
}
Group group(const std::string& name, std::vector<Service> services, const std::string& created = "2024") {
  return {.name = name, .created = created, .services = std::move(services)};
}

class CatalogTest : public testing::Test {
 protected:
  static bool nobody(std::uint32_t) { return false; }
  void open(std::vector<Group> groups) { ASSERT_TRUE(catalog.open(std::move(groups), {}, nobody)); }
  SnapshotChange apply(std::vector<Group> groups) {
    auto change = catalog.apply(std::move(groups), nobody);
    EXPECT_TRUE(change) << change.error().message;
    if (!change) return {};
    slots.admit(change->states);
    slots.dismiss(change->states);
    return std::move(*change);
  }
  std::string served(const std::string& to) const {
    const Match match = catalog.snapshot()->match(connection("203.0.113.7", to), view);
    return match.port == nullptr ? "" : match.port->service().name;
  }
  std::shared_ptr<const ServicePort> port(const std::string& name) const {
    return catalog.snapshot()->port(name, net::Family::v4);
  }

  node::NodeView view = seed_view();
  datapath::EndpointSlots slots{64};
  Identities identities{slots};
  Catalog catalog{identities, seed_node(), IcmpEcho::ignore};
};

std::vector<std::string> names(const Snapshot::Ports& ports) {
  std::vector<std::string> result;
  for (const auto& port : ports) result.push_back(port->service().name);
  std::ranges::sort(result);
  return result;
}

TEST_F(CatalogTest, a_change_costs_its_own_service_only) {
  open({group("a/a", {service("a/a:x", "10.0.0.1")}), group("b/b", {service("b/b:x", "10.0.0.2")})});
  const auto before = catalog.snapshot();
  const auto untouched = port("b/b:x");
  Service changed = service("a/a:x", "10.0.0.1");
  changed.endpoints.pop_back();
  const SnapshotChange change = apply({group("a/a", {changed})});
  EXPECT_THAT(names(change.gone), ElementsAre("a/a:x"));
  EXPECT_THAT(names(change.made), ElementsAre("a/a:x"));
  EXPECT_EQ(port("b/b:x"), untouched);
  EXPECT_EQ(port("a/a:x")->service().endpoints.size(), 1u);
  EXPECT_EQ(before->port("a/a:x", net::Family::v4)->service().endpoints.size(), 2u) << "the former is as it was";
}

TEST_F(CatalogTest, the_same_again_changes_nothing) {
  open({group("a/a", {service("a/a:x", "10.0.0.1"), service("a/a:y", "10.0.0.3")})});
  EXPECT_TRUE(apply({group("a/a", {service("a/a:x", "10.0.0.1"), service("a/a:y", "10.0.0.3")})}).empty());
  Service other = service("a/a:y", "10.0.0.4");
  EXPECT_THAT(names(apply({group("a/a", {service("a/a:x", "10.0.0.1"), other})}).made), ElementsAre("a/a:y"));
  EXPECT_EQ(served("10.0.0.3:80"), "");
  EXPECT_EQ(served("10.0.0.4:80"), "a/a:y");
}

TEST_F(CatalogTest, ports_are_listed_in_the_order_in_which_they_came) {
  open({group("b/b", {service("b/b:x", "10.0.0.1")}), group("a/a", {service("a/a:x", "10.0.0.2")})});
  Service changed = service("b/b:x", "10.0.0.1");
  changed.endpoints.pop_back();
  apply({group("b/b", {changed}), group("0/0", {service("0/0:x", "10.0.0.3")})});
  std::vector<std::string> listed;
  for (const auto& each : catalog.snapshot()->ports()) listed.push_back(each->service().name);
  EXPECT_THAT(listed, ElementsAre("b/b:x", "a/a:x", "0/0:x"));
}

TEST_F(CatalogTest, names_stay_with_who_stays) {
  open({group("a/a", {service("a/a:x", "10.0.0.1")})});
  const auto before = port("a/a:x");
  Service more = service("a/a:x", "10.0.0.1");
  more.endpoints.insert(more.endpoints.begin(), remote_endpoint("10.28.7.7:80"));
  apply({group("a/a", {more})});
  const auto after = port("a/a:x");
  EXPECT_EQ(after->affinity_scope(), before->affinity_scope());
  EXPECT_EQ(after->id(1), before->id(0));
  EXPECT_EQ(after->id(2), before->id(1));
  apply({group("a/a", {})});
  EXPECT_FALSE(slots.is(before->id(0), datapath::EndpointSlots::serving)) << "UDP flows to it are decided anew";
  apply({group("a/a", {more})});
  EXPECT_NE(port("a/a:x")->id(1).id, before->id(0).id);
  EXPECT_NE(port("a/a:x")->affinity_scope(), before->affinity_scope());
}

TEST_F(CatalogTest, the_older_has_what_two_claim_and_leaves_it_to_the_younger) {
  open({group("y/y", {service("y/y:x", "10.0.0.1", 30001)}, "2025")});
  EXPECT_EQ(served("10.0.0.1:80"), "y/y:x");
  const SnapshotChange taken = apply({group("o/o", {service("o/o:x", "10.0.0.1", 30002)}, "2024")});
  EXPECT_THAT(names(taken.made), ElementsAre("o/o:x", "y/y:x"));
  EXPECT_EQ(served("10.0.0.1:80"), "o/o:x");
  EXPECT_EQ(served("10.128.0.5:30001"), "y/y:x") << "it keeps its other doors";
  EXPECT_THAT(taken.losses,
              ElementsAre("10.0.0.1:80/tcp of service y/y:x is left out: the older service o/o:x has it"));
  apply({group("o/o", {})});
  EXPECT_EQ(served("10.0.0.1:80"), "y/y:x");
  EXPECT_THAT(catalog.losses(), IsEmpty());
}

TEST_F(CatalogTest, a_name_belongs_to_one) {
  Group native = group("limpet.yaml", {service("a/a:x", "10.0.0.1")}, "");
  native.native = true;
  open({group("a/a", {service("a/a:x", "10.0.0.2")}, "")});
  EXPECT_EQ(served("10.0.0.2:80"), "a/a:x");
  apply({native});
  EXPECT_EQ(served("10.0.0.1:80"), "a/a:x");
  EXPECT_EQ(served("10.0.0.2:80"), "") << "without its name it has nothing";
  apply({group("limpet.yaml", {})});
  EXPECT_EQ(served("10.0.0.2:80"), "a/a:x");
}

TEST_F(CatalogTest, refuses_what_does_not_fit_and_stays_as_it_was) {
  open({group("a/a", {service("a/a:x", "10.0.0.1")})});
  const auto before = catalog.snapshot();
  Service large = service("b/b:x", "10.0.0.1");
  for (int i = 0; i < 70; ++i) large.endpoints.push_back(remote_endpoint("10.1.0." + std::to_string(i + 1) + ":80"));
  const auto refused = catalog.apply({group("b/b", {large}, "2020"), group("a/a", {})}, nobody);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, testing::HasSubstr("raise tables.endpoints"));
  EXPECT_EQ(catalog.snapshot(), before);
  EXPECT_EQ(served("10.0.0.1:80"), "a/a:x");
  EXPECT_TRUE(apply({group("a/a", {service("a/a:x", "10.0.0.1")})}).empty());
  EXPECT_THAT(catalog.losses(), IsEmpty());
}

TEST_F(CatalogTest, states_are_for_the_publisher_to_put_in_force) {
  open({group("a/a", {service("a/a:x", "10.0.0.1")})});
  const datapath::EndpointId leaving = port("a/a:x")->id(0);
  Service next = service("a/a:x", "10.0.0.1");
  next.endpoints.erase(next.endpoints.begin());
  next.endpoints.push_back(remote_endpoint("10.28.6.6:80"));
  const auto change = catalog.apply({group("a/a", {next})}, nobody);
  ASSERT_TRUE(change);
  const datapath::EndpointId coming = change->made.front()->id(1);
  const auto serves = [&](datapath::EndpointId id) { return slots.is(id, datapath::EndpointSlots::serving); };
  EXPECT_TRUE(serves(leaving) && !serves(coming)) << "nothing yet";
  slots.admit(change->states);
  EXPECT_TRUE(serves(leaving) && serves(coming));
  slots.dismiss(change->states);
  EXPECT_TRUE(!serves(leaving) && serves(coming));
}

/// 64 slots. What is native counts first, then the older.
TEST_F(CatalogTest, begins_with_what_fits) {
  const auto with_endpoints = [](const std::string& name, int count) {
    Service result = service(name, "10.0.0." + std::to_string(count));
    for (int i = 2; i < count; ++i) result.endpoints.push_back(remote_endpoint("10.1.0." + std::to_string(i) + ":80"));
    return result;
  };
  Group native = group("limpet.yaml", {with_endpoints("n/n:x", 10)}, "");
  native.native = true;
  const auto opened = catalog.open({group("d/young", {with_endpoints("d/young:x", 21)}, "2025"),
                                    group("c/large", {with_endpoints("c/large:x", 60)}, "2023"),
                                    group("b/old", {with_endpoints("b/old:x", 31)}, "2022"), native,
                                    group("a/small", {with_endpoints("a/small:x", 20)}, "2024")},
                                   {}, nobody);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_EQ(opened->also.size(), 0u);
  std::vector<std::string> left_out;
  for (const Group& each : opened->left_out) left_out.push_back(each.name + " of " + each.created);
  EXPECT_THAT(left_out, ElementsAre("c/large of 2023", "d/young of 2025"));
  EXPECT_EQ(opened->left_out.front().services.front().endpoints.size(), 60u);
  EXPECT_THAT(names(catalog.snapshot()->ports()), ElementsAre("a/small:x", "b/old:x", "n/n:x"));
  EXPECT_FALSE(catalog.apply({opened->left_out.back()}, nobody));
  apply({group("a/small", {})});
  EXPECT_EQ(apply({opened->left_out.back()}).made.size(), 1u) << "there is room for it now";
}

/// A table of eight, as a file keeps it. What did not fit keeps the endpoints that it had: the memory knows their names.
TEST(Catalog, begins_again_with_what_fits_and_what_is_known) {
  const IdentityLimits limits{.endpoints = 8, .scopes = 8};
  std::vector<std::uint64_t> memory(Identities::memory(limits) / sizeof(std::uint64_t) + 1);
  const auto nobody = [](std::uint32_t) { return false; };
  const auto begin = [&](std::vector<Group> groups) {
    datapath::EndpointSlots slots(8);
    Identities identities(slots, limits, {},
                          std::as_writable_bytes(std::span(memory)).first(Identities::memory(limits)));
    Catalog catalog(identities, seed_node(), IcmpEcho::ignore);
    const auto opened = catalog.open(std::move(groups), {}, nobody);
    EXPECT_TRUE(opened) << opened.error().message;
    std::vector<std::string> left_out;
    for (const Group& each : opened->left_out) left_out.push_back(each.name);
    return std::pair(catalog.snapshot(), left_out);
  };
  const Service small = service("a/a:x", "10.0.0.1");
  Service grown = service("b/b:x", "10.0.0.2");
  const auto [before, nothing] = begin({group("a/a", {small}), group("b/b", {grown})});
  EXPECT_THAT(nothing, IsEmpty());
  for (int i = 0; i < 20; ++i) grown.endpoints.push_back(remote_endpoint("10.1.0." + std::to_string(i + 1) + ":80"));
  grown.endpoints.erase(grown.endpoints.begin());
  const auto [after, left_out] = begin({group("b/b", {grown}), group("a/a", {small})});
  EXPECT_THAT(left_out, ElementsAre("b/b"));
  const auto port = [](const auto& snapshot, const std::string& name) { return snapshot->port(name, net::Family::v4); };
  ASSERT_EQ(after->size(), 2u);
  EXPECT_EQ(port(after, "a/a:x")->id(0), port(before, "a/a:x")->id(0)) << "it fits: nothing is forgotten";
  ASSERT_EQ(port(after, "b/b:x")->service().endpoints.size(), 1u);
  EXPECT_EQ(port(after, "b/b:x")->id(0), port(before, "b/b:x")->id(1));
  EXPECT_EQ(port(after, "b/b:x")->affinity_scope(), port(before, "b/b:x")->affinity_scope());
}

TEST_F(CatalogTest, does_not_begin_without_what_is_native) {
  Service large = service("n/n:x", "10.0.0.1");
  for (int i = 0; i < 70; ++i) large.endpoints.push_back(remote_endpoint("10.1.0." + std::to_string(i + 1) + ":80"));
  Group native = group("limpet.yaml", {large}, "");
  native.native = true;
  const auto opened = catalog.open({native, group("a/a", {service("a/a:x", "10.0.0.2")})}, {}, nobody);
  ASSERT_FALSE(opened);
  EXPECT_THAT(opened.error().message, testing::HasSubstr("raise tables.endpoints"));
}

/// Connections of the process before still hold most of the slots.
TEST_F(CatalogTest, begins_with_what_fits_beside_connections) {
  const auto held = [](std::uint32_t slot) { return slot >= 5; };
  const auto opened = catalog.open(
      {group("a/a", {service("a/a:x", "10.0.0.1")}, "2022"), group("b/b", {service("b/b:x", "10.0.0.2")}, "2023"),
       group("c/c", {service("c/c:x", "10.0.0.3")}, "2024")},
      {}, held);
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_THAT(names(catalog.snapshot()->ports()), ElementsAre("a/a:x", "b/b:x"));
  ASSERT_EQ(opened->left_out.size(), 1u);
  EXPECT_EQ(opened->left_out.front().name, "c/c");
}

/// Fewer slots than the smallest part of the table that is tried.
TEST_F(CatalogTest, begins_with_what_is_native_where_nothing_else_fits) {
  Group native = group("limpet.yaml", {service("n/n:x", "10.0.0.1")}, "");
  native.native = true;
  const auto opened = catalog.open({native, group("a/a", {service("a/a:x", "10.0.0.2")})}, {},
                                   [](std::uint32_t slot) { return slot >= 3; });
  ASSERT_TRUE(opened) << opened.error().message;
  EXPECT_THAT(names(catalog.snapshot()->ports()), ElementsAre("n/n:x"));
  EXPECT_EQ(opened->left_out.size(), 1u);
}

/// An older group claims a service's name, which does not fit: its heir in name goes on as before.
TEST_F(CatalogTest, a_refused_change_leaves_no_trace_in_a_rival) {
  open({group("a/a", {service("s/s:x", "10.0.0.1")}, "2022"), group("b/b", {service("s/s:x", "10.0.0.1")}, "2023")});
  Service large = service("c/c:x", "10.0.0.3");
  for (int i = 0; i < 70; ++i) large.endpoints.push_back(remote_endpoint("10.1.0." + std::to_string(i + 1) + ":80"));
  ASSERT_FALSE(catalog.apply({group("a/a", {large})}, nobody)) << "b/b would have been the heir of s/s:x";
  apply({group("b/b", {})});
  EXPECT_EQ(served("10.0.0.1:80"), "s/s:x") << "it is a/a's";
}

TEST_F(CatalogTest, who_shares_a_scope_is_made_anew_together) {
  Service http = service("a/a:http", "10.0.0.1");
  Service dns = service("b/b:dns", "10.0.0.2");
  http.affinity_group = dns.affinity_group = "both";
  open({group("a/a", {http}), group("b/b", {dns}), group("c/c", {service("c/c:x", "10.0.0.3")})});
  http.endpoints.push_back(local_endpoint("10.28.8.5:81"));  // a second one at an address that both have
  const SnapshotChange change = apply({group("a/a", {http})});
  EXPECT_THAT(names(change.made), ElementsAre("a/a:http", "b/b:dns"));
  const std::uint32_t second = port("a/a:http")->affinity_id(2);
  EXPECT_EQ(port("b/b:dns")->find(second, Set::cluster), std::optional<std::uint32_t>(0)) << "the other knows it, too";
}

/// Any sequence of changes ends where a fresh catalog of the same groups begins: same doors, same endpoints.
TEST_F(CatalogTest, changes_in_any_order_meet_the_whole) {
  std::mt19937 random(7);
  std::vector<Group> now(12);
  for (std::size_t i = 0; i < now.size(); ++i) now[i].name = "g" + std::to_string(i);
  open({});
  for (int round = 0; round < 400; ++round) {
    const std::size_t n_group = random() % now.size();
    Group& one = now[n_group];
    one.created = std::to_string(2000 + random() % 4 * 100 + n_group);  // as old as no other
    one.services.clear();
    for (std::size_t n = random() % 3; n > 0; --n) {
      Service made = service("n/" + std::to_string(random() % 6) + ":p", "10.0.0." + std::to_string(random() % 5),
                             static_cast<std::uint16_t>(random() % 4 == 0 ? 30000 + random() % 3 : 0));
      if (random() % 2 == 0) made.endpoints.resize(1);
      const bool twice = std::ranges::any_of(one.services, [&](const Service& each) { return each.name == made.name; });
      if (!twice) one.services.push_back(made);
    }
    apply({one});
    datapath::EndpointSlots fresh_slots(64);
    Identities fresh_names(fresh_slots);
    Catalog fresh(fresh_names, seed_node(), IcmpEcho::ignore);
    ASSERT_TRUE(fresh.open(now, {}, nobody));
    auto ours = catalog.snapshot()->ports();
    auto theirs = fresh.snapshot()->ports();
    const auto name = [](const auto& port) { return port->service().name; };
    std::ranges::sort(ours, {}, name);
    std::ranges::sort(theirs, {}, name);
    ASSERT_EQ(ours.size(), theirs.size());
    for (std::size_t i = 0; i < ours.size(); ++i) EXPECT_EQ(ours[i]->service(), theirs[i]->service());
    for (int vip = 0; vip < 5; ++vip) {
      const auto to = connection("203.0.113.7", "10.0.0." + std::to_string(vip) + ":80");
      const Match a = catalog.snapshot()->match(to, view), b = fresh.snapshot()->match(to, view);
      ASSERT_EQ(a.port == nullptr, b.port == nullptr);
      if (a.port == nullptr) continue;
      EXPECT_EQ(a.port->service(), b.port->service());
    }
    EXPECT_EQ(catalog.losses(), fresh.losses());
    std::set<std::uint32_t> named;
    for (const auto& each : ours) {
      for (std::uint32_t i = 0; i < each->service().endpoints.size(); ++i) {
        EXPECT_TRUE(named.insert(each->id(i).slot).second) << "a slot of two";
        EXPECT_TRUE(slots.is(each->id(i), datapath::EndpointSlots::ready));
      }
    }
  }
}

}  // namespace
}  // namespace limpet::service
