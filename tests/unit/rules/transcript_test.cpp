// Recorded behaviour of the kernel's own xt_recent and xt_statistic (tests/data/README.md): every packet, write and
// reload of every transcript, through the parser and the chains that the daemon's programs are made of. What must agree
// after each event: which rules matched, and what the lists hold.
//
//   LIMPET_TRANSCRIPTS, LIMPET_NTH_TRANSCRIPTS   other files of the same form, read when the test runs
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "lb/affinity/recent_text.h"
#include "lb/rules/chains.h"
#include "lb/rules/ruleset_text.h"

namespace limpet::rules {
namespace {

using nlohmann::json;

/// Which tick an event of unknown tick is played at: all in its range must do.
enum class Tick { recorded, earliest, latest };

std::uint64_t tick_of(const json& event, Tick tick) {
  const std::uint64_t recorded = event.at("t");
  if (tick == Tick::earliest) return event.value("t_min", recorded);
  if (tick == Tick::latest) return event.value("t_max", recorded);
  return recorded;
}

/// The kernel of a transcript: its lists, its two raw tables.
class Kernel {
 public:
  /// `boot`: jiffies at tick 0.
  Kernel(const json& transcript, std::uint64_t boot, bool compiled)
      : compiled_(compiled),
        memory_({.capacity = transcript.value("ip_list_tot", 100U), .per_second = transcript.at("hz")},
                NthOnReload::reset),
        boot_(boot) {
    load(transcript.at("program"));
  }

  /// As iptables-legacy-restore and then ip6tables-legacy-restore: the new table's rules take the lists before the old
  /// table's let them go.
  void load(const json& program) {
    for (const auto& [family, key] : {std::pair{net::Family::v4, "ipv4"}, std::pair{net::Family::v6, "ipv6"}}) {
      std::string text = "*raw\n";
      for (const std::string rule : program.value(key, json::array())) text += rule + "\n";
      ReadRuleset read = parse_ruleset(text + "COMMIT\n", {.file = key, .family = family});
      for (const auto& error : read.errors) ADD_FAILURE() << to_string(error);
      LinkedRuleset linked = link(std::move(read.rules), memory_, {.compiled = compiled_});
      for (const auto& error : linked.errors) ADD_FAILURE() << to_string(error);
      tables_.insert_or_assign(family, std::move(linked));
    }
  }

  /// How many rules are found otherwise than by looking at them.
  std::size_t found_otherwise() {
    std::size_t rules = 0;
    for (auto& [family, program] : tables_) {
      const Chains* const raw = program.find(Table::raw);
      for (const TreatedRule& one : raw != nullptr ? raw->treated() : std::vector<TreatedRule>()) {
        if (one.treatment.how != Treatment::How::literal) ++rules;
      }
    }
    return rules;
  }

  void play(const json& event, std::uint64_t tick) {
    if (event.contains("reload")) return load(event["reload"]);
    if (event.contains("write")) {
      const auto list = memory_.lists.find(event.at("list"));
      ASSERT_NE(list, nullptr);
      // What the kernel refuses changes nothing; which it is, the lists afterwards tell.
      (void)affinity::write(*list, event["write"].get<std::string>(), boot_ + tick);
      return;
    }
    EXPECT_EQ(walk(event, tick), event.at("hits").get<std::vector<std::string>>());
  }

  void check_lists(const json& event) const {
    const json lists = event.value("lists", json::object());
    for (const auto& [name, expected] : lists.items()) EXPECT_EQ(dump(name), spelled(expected)) << "list " << name;
    const json counts = event.value("count", json::object());
    for (const auto& [name, expected] : counts.items()) EXPECT_EQ(dump(name).size(), expected) << "list " << name;
  }

 private:
  std::vector<std::string> walk(const json& event, std::uint64_t tick) {
    Facts facts;
    facts.tuple = {net::Protocol::udp,
                   {*net::Address::parse(event.at("src").get<std::string>()), 40000},
                   {*net::Address::parse(event.at("dst").get<std::string>()), 9}};
    facts.ttl = event.at("ttl");
    facts.states = kInvalid;
    std::vector<Hit> hits;
    LinkedRuleset& linked = tables_.at(facts.tuple.source.address.family());
    const Chains* const raw = linked.find(Table::raw);
    const std::string chain = event.at("chain");
    EXPECT_TRUE(raw != nullptr && raw->walk(chain, facts, {boot_ + tick, rng_}, &hits)) << "no chain " << chain;
    // Transcripts have them in the order of the program, not of the walk.
    std::sort(hits.begin(), hits.end(), [](const Hit& a, const Hit& b) { return a.rule->line < b.rule->line; });
    std::vector<std::string> names;
    for (const Hit& hit : hits) names.push_back(*hit.chain + ":" + std::to_string(hit.number));
    return names;
  }

  /// Addresses as we spell them.
  static json spelled(json entries) {
    for (json& entry : entries) {
      const auto address = net::Address::parse(entry.at("addr").get<std::string>());
      if (address) entry["addr"] = address->to_string();
    }
    return entries;
  }
  /// As transcripts have it: sorted by address, ticks instead of jiffies; null: no rule names the list.
  json dump(const std::string& name) const {
    const auto list = memory_.lists.find(name);
    if (list == nullptr) return nullptr;
    std::map<net::Address, json> sorted;
    for (const affinity::RecentRecord& record : list->records()) {
      json stamps = json::array();
      for (const std::uint64_t stamp : record.stamps) stamps.push_back(stamp - boot_);
      sorted[record.address] = {{"addr", record.address.to_string()},
                                {"ttl", record.ttl},
                                {"index", record.next_slot},
                                {"stamps", std::move(stamps)}};
    }
    json entries = json::array();
    for (auto& [address, entry] : sorted) entries.push_back(std::move(entry));
    return entries;
  }

  const bool compiled_;
  RuleMemory memory_;
  std::map<net::Family, LinkedRuleset> tables_;
  pick::Rng rng_{1};
  std::uint64_t boot_;
};

std::vector<json> read_transcripts(const char* variable, const std::string& file) {
  const char* const other = std::getenv(variable);
  const std::string path = other != nullptr ? other : LIMPET_SOURCE_DIR "/tests/data/" + file;
  std::ifstream in(path);
  EXPECT_TRUE(in) << path << " cannot be read";
  std::vector<json> transcripts;
  for (std::string line; std::getline(in, line);) {
    if (!line.empty()) transcripts.push_back(json::parse(line));
  }
  EXPECT_FALSE(transcripts.empty()) << path << " holds no transcript";
  return transcripts;
}

/// How a transcript is played.
struct Way {
  std::uint64_t boot;
  Tick tick;
  bool compiled;
};
struct Played {
  std::size_t events = 0;
  std::size_t found_otherwise = 0;  // rules of a compiled program
};

/// Stops at the first event of a transcript that does not agree: what follows stands on it.
Played play(const json& transcript, const Way& way) {
  SCOPED_TRACE(transcript.at("id").get<std::string>() + ": " + transcript.at("title").get<std::string>());
  Kernel kernel(transcript, way.boot, way.compiled);
  Played played{0, kernel.found_otherwise()};
  for (const json& event : transcript.at("events")) {
    SCOPED_TRACE("event " + std::to_string(played.events) + ": " + event.dump().substr(0, 200));
    kernel.play(event, tick_of(event, way.tick));
    kernel.check_lists(event);
    if (testing::Test::HasFailure()) break;
    ++played.events;
  }
  return played;
}

/// How many rules of all programs were compiled.
std::size_t play_all(const std::vector<json>& transcripts, const Way& way) {
  SCOPED_TRACE(way.compiled ? "compiled" : "rule by rule");
  std::size_t events = 0, expected = 0, found_otherwise = 0;
  for (const json& transcript : transcripts) {
    expected += transcript.at("events").size();
    const Played played = play(transcript, way);
    events += played.events;
    found_otherwise += played.found_otherwise;
  }
  EXPECT_EQ(events, expected);
  testing::Test::RecordProperty("transcripts", static_cast<int>(transcripts.size()));
  testing::Test::RecordProperty("events", static_cast<int>(events));
  return found_otherwise;
}

void play_all(const char* variable, const std::string& file) {
  const auto transcripts = read_transcripts(variable, file);
  std::size_t found_otherwise = 0;
  // Jiffies when a 64-bit kernel of 250 Hz starts, in the middle of their life, and just before they go round.
  for (const std::uint64_t boot : {std::uint64_t{4294892296}, std::uint64_t{1} << 40, ~std::uint64_t{0} - 700}) {
    for (const Tick tick : {Tick::recorded, Tick::earliest, Tick::latest}) {
      for (const bool compiled : {false, true}) {
        found_otherwise = play_all(transcripts, {boot, tick, compiled});
        if (testing::Test::HasFailure()) return;
      }
    }
  }
  testing::Test::RecordProperty("rules_found_otherwise", static_cast<int>(found_otherwise));
}

TEST(Recent, EveryEventOfEveryTranscript) {
  play_all("LIMPET_TRANSCRIPTS", "xt_recent_transcripts.jsonl");
}

TEST(StatisticNth, EveryEventOfEveryTranscript) {
  play_all("LIMPET_NTH_TRANSCRIPTS", "xt_statistic_nth_transcripts.jsonl");
}

}  // namespace
}  // namespace limpet::rules
