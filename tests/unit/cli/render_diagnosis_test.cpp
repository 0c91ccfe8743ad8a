#include "lb/cli/render_diagnosis.h"

#include <sstream>
#include <string>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

namespace limpet::cli {
namespace {

using divert::CheckStatus;
using divert::Diagnosis;

Diagnosis sample() {
  Diagnosis diagnosis;
  diagnosis.kernel = "6.18.44";
  diagnosis.checks = {{"queue", "NFQUEUE", CheckStatus::found, "a queue can be bound"},
                      {"rules", "nft queue", CheckStatus::missing, "no such thing", "no nft", "build it"},
                      {"machine", "net.ipv4.ip_forward", CheckStatus::attention, "0", "no way out", "set it"}};
  diagnosis.datapaths = {
      {{"rewrite", true, "it arrived"}, {"offload", false, "not here"}, {"route", false, "nor this"}}};
  return diagnosis;
}

std::string printed(const Diagnosis& diagnosis, const service::Config* config, bool colour) {
  std::ostringstream out;
  print_diagnosis(diagnosis, config, colour, out);
  return out.str();
}

TEST(RenderDiagnosis, OneJsonObjectOnOneLine) {
  EXPECT_EQ(
      to_json(sample()),
      R"({"kernel":"6.18.44","checks":[)"
      R"({"name":"NFQUEUE","group":"queue","status":"found","detail":"a queue can be bound","consequence":"","remedy":""},)"
      R"({"name":"nft queue","group":"rules","status":"missing","detail":"no such thing","consequence":"no nft","remedy":"build it"},)"
      R"({"name":"net.ipv4.ip_forward","group":"machine","status":"attention","detail":"0","consequence":"no way out","remedy":"set it"}],)"
      R"("datapaths":{"rewrite":{"works":true,"reason":"it arrived"},"offload":{"works":false,"reason":"not here"},)"
      R"("route":{"works":false,"reason":"nor this"}}})");
}

TEST(RenderDiagnosis, WordsThatAreNotUtf8StillMakeJson) {
  Diagnosis diagnosis = sample();
  diagnosis.checks[0].detail = "caf\xe9";
  const auto json = nlohmann::json::parse(to_json(diagnosis));
  EXPECT_EQ(json["checks"][0]["detail"], "caf\xef\xbf\xbd");  // U+FFFD
}

TEST(RenderDiagnosis, TablesForPeople) {
  const std::string text = printed(sample(), nullptr, false);
  const std::string head =
      "Linux 6.18.44\n"
      "\n"
      "queue\n"
      "  found      NFQUEUE              a queue can be bound\n"
      "\n"
      "rules\n"
      "  missing    nft queue            no such thing\n"
      "                                  means: no nft\n"
      "                                  to do: build it\n"
      "\n"
      "machine\n"
      "  attention  net.ipv4.ip_forward  0\n"
      "                                  means: no way out\n"
      "                                  to do: set it\n"
      "\n"
      "datapaths\n"
      "  works      rewrite              it arrived\n"
      "  no         offload              not here\n"
      "  no         route                nor this\n"
      "\n"
      "when limpet is not there\n";
  EXPECT_EQ(text.substr(0, head.size()), head);
}

TEST(RenderDiagnosis, LongWordsKeepTheirColumn) {
  Diagnosis diagnosis = sample();
  diagnosis.checks.resize(1);
  diagnosis.checks[0].detail.clear();
  for (int i = 0; i < 40; ++i) diagnosis.checks[0].detail += "word\n";
  std::istringstream lines(printed(diagnosis, nullptr, false));
  int with_words = 0;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 118u) << line;
    if (line.find("word word") == std::string::npos) continue;
    ++with_words;
    // Two spaces, eleven of status, the name's seven and two more.
    EXPECT_EQ(line.find("word"), 22u) << line;
  }
  EXPECT_GT(with_words, 1);
}

TEST(RenderDiagnosis, ColourOnlyIfWanted) {
  EXPECT_EQ(printed(sample(), nullptr, false).find('\033'), std::string::npos);
  const std::string text = printed(sample(), nullptr, true);
  EXPECT_NE(text.find("\033[32mfound\033[0m      NFQUEUE"), std::string::npos) << text;
  EXPECT_NE(text.find("\033[33mmissing\033[0m    nft queue"), std::string::npos) << text;
}

/// The rows that begin with a star.
std::string starred(const service::Config& config) {
  std::istringstream lines(printed(sample(), &config, false));
  std::string rows;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("  * ")) rows += line.substr(4, line.find("  ", 4) - 4) + "|";
  }
  return rows;
}

TEST(RenderDiagnosis, WhatTheConfigurationChoseIsMarked) {
  service::Config config;
  config.on_death = service::OnDeath::hold;
  config.on_stop = service::OnStop::keep;
  EXPECT_EQ(starred(config), "killed, onDeath: hold|stopped, stop: keep|");
  config.on_death = service::OnDeath::bypass;
  config.on_stop = service::OnStop::remove;
  EXPECT_EQ(starred(config), "killed, onDeath: bypass|stopped, stop: remove|");
}

TEST(RenderDiagnosis, WhatHappensWithoutLimpetStandsInColumns) {
  std::istringstream lines(printed(sample(), nullptr, false));
  std::string line;
  while (std::getline(lines, line) && line != "when limpet is not there") {
  }
  int rows = 0;
  for (; std::getline(lines, line) && !line.starts_with("    The rest"); ++rows) {
    for (const std::size_t column : {29u, 58u, 85u}) {
      ASSERT_LT(column, line.size()) << line;
      EXPECT_EQ(line[column - 1], ' ') << line;
      EXPECT_NE(line[column], ' ') << line;
    }
  }
  EXPECT_EQ(rows, 6);
}

}  // namespace
}  // namespace limpet::cli
