// Saving, loading and importing beside a daemon that is a list.
#include "lb/cli/affinity_transfer.h"

#include <sstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limpet::cli {
namespace {

using affinity::NamedEntry;
using control::BatchOutcome;
using flow::Milliseconds;
using testing::ElementsAre;
using testing::SizeIs;

NamedEntry entry(const std::string& client, int age) {
  return {"t/web:http", *net::Address::parse(client), *net::AddressPort::parse("10.2.0.1:80"), Milliseconds(age), true};
}

/// Keeps what it is given; two entries of each listing have no name.
class FakePeer final : public AffinityPeer {
 public:
  store::Result<std::vector<rules::KnownEndpoint>> endpoints() override {
    return std::vector<rules::KnownEndpoint>{
        {"t/web:http", net::Protocol::tcp, *net::AddressPort::parse("10.2.0.1:80"), flow::Seconds(60)}};
  }
  store::Result<BatchOutcome> put(std::span<const NamedEntry> entries) override {
    if (fails_after-- == 0) return store::Error{store::ErrorKind::unavailable, "the limpet has gone"};
    batches.push_back(entries.size());
    kept.insert(kept.end(), entries.begin(), entries.end());
    return BatchOutcome{.taken = entries.size()};
  }
  store::Result<std::size_t> each(const std::function<void(const NamedEntry&)>& visit) override {
    for (const NamedEntry& one : kept) visit(one);
    return std::size_t{2};
  }

  std::vector<NamedEntry> kept;
  std::vector<std::size_t> batches;
  int fails_after = -1;
};

TEST(AffinityTransfer, WhatIsSavedIsWhatIsLoaded) {
  FakePeer before, after;
  before.kept = {entry("198.18.0.1", 1000), entry("fd98::1", 0)};
  std::stringstream file;
  const auto counts = save_affinities(before, affinity::WallTime(Milliseconds(1'795'787'702'123)), file);
  ASSERT_TRUE(counts);
  EXPECT_EQ(counts->saved, 2U);
  EXPECT_EQ(counts->nameless, 2U);
  auto parsed = affinity::parse_text(file, "file");
  ASSERT_THAT(parsed.errors, SizeIs(0));
  const auto outcome = put_affinities(after, std::move(parsed.entries), Milliseconds(500));
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->taken, 2U);
  // Half a second older; saving and loading take time themselves, here far less than ten.
  ASSERT_THAT(after.kept, SizeIs(2));
  EXPECT_NEAR(static_cast<double>(after.kept[0].age.count()), 1500, 10'000);
  EXPECT_GE(after.kept[1].age, Milliseconds(500));
  for (std::size_t i = 0; i < 2; ++i) after.kept[i].age = before.kept[i].age;
  EXPECT_EQ(after.kept, before.kept);
}

TEST(AffinityTransfer, ManyGoInBatches) {
  FakePeer peer;
  const auto outcome = put_affinities(peer, std::vector(2 * control::kMostEntries + 1, entry("198.18.0.1", 0)), {});
  ASSERT_TRUE(outcome);
  EXPECT_EQ(outcome->taken, 2 * control::kMostEntries + 1);
  EXPECT_THAT(peer.batches, ElementsAre(control::kMostEntries, control::kMostEntries, 1U));
}

TEST(AffinityTransfer, ADaemonThatGoesIsAnError) {
  FakePeer peer;
  peer.fails_after = 1;
  const auto outcome = put_affinities(peer, std::vector(2 * control::kMostEntries, entry("198.18.0.1", 0)), {});
  ASSERT_FALSE(outcome);
  EXPECT_EQ(outcome.error().kind, store::ErrorKind::unavailable);
}

// Whether a file is good is told before a daemon is asked for: there is none here.
TEST(AffinityTransfer, NothingOfAFileWithAnErrorIsLoaded) {
  std::istringstream in(
      "limpet-affinity 1 2026-11-27T13:55:02.123Z\nt/web:http nobody 10.2.0.1:80 0 confirmed\nend 1\n");
  std::ostringstream out, err;
  const TransferOptions options{.daemon = {.socket = "/nonexistent.sock"}, .file = "-"};
  EXPECT_EQ(run_affinity_load(options, in, out, err), 3);
  EXPECT_EQ(err.str(),
            "standard input:2: 'nobody' is no IP address; write one as in 203.0.113.7 or fd00::1\n"
            "limpet affinity load: nothing was loaded; correct the lines above, or load the others with --lenient\n");
  EXPECT_EQ(out.str(), "");
}

TEST(AffinityTransfer, WithoutADaemonItSaysSo) {
  std::istringstream in("limpet-affinity 1 2026-11-27T13:55:02.123Z\nend 0\n");
  std::ostringstream out, err;
  const TransferOptions options{.daemon = {.socket = "/nonexistent.sock"}, .file = "-"};
  EXPECT_EQ(run_affinity_load(options, in, out, err), 4);
  EXPECT_EQ(run_affinity_save(options, out, err), 4);
  EXPECT_EQ(run_affinity_import(options, out, err), 4);
}

}  // namespace
}  // namespace limpet::cli
