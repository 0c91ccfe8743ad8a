#include "lb/cli/config_option.h"

#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace limpet::cli {
namespace {

using testing::ElementsAre;
using testing::Pair;
using testing::UnorderedElementsAre;

/// What a subcommand with one switch of its own makes of these words.
struct Parsed {
  service::ConfigSources sources;
  bool own = false;
};

Parsed parse(std::vector<const char*> words) {
  Parsed parsed;
  CLI::App app;
  CLI::App* const sub = app.add_subcommand("run");
  sub->add_flag("--own", parsed.own);
  add_config(*sub, parsed.sources);
  words.insert(words.begin(), {"limpet", "run"});
  app.parse(command_line(static_cast<int>(words.size()), words.data()));
  return parsed;
}

TEST(ConfigOption, TakesFilesAndFlags) {
  const Parsed parsed = parse({"-c", "limpet.yaml", "--config=kube.conf", "--cluster-cidr", "10.0.0.0/8", "--own",
                               "--proxy-mode=iptables", "-v=2"});
  EXPECT_THAT(parsed.sources.files, ElementsAre("limpet.yaml", "kube.conf"));
  EXPECT_THAT(parsed.sources.flags,
              UnorderedElementsAre(Pair("cluster-cidr", "10.0.0.0/8"), Pair("proxy-mode", "iptables"), Pair("v", "2")));
  EXPECT_TRUE(parsed.own);
  EXPECT_EQ(names_of(parsed.sources), "limpet.yaml and kube.conf");
}

TEST(ConfigOption, SwitchesNeedNoValue) {
  const Parsed parsed = parse({"-c", "f", "--masquerade-all", "--iptables-localhost-nodeports=false", "--cleanup"});
  EXPECT_THAT(parsed.sources.flags,
              UnorderedElementsAre(Pair("masquerade-all", "true"), Pair("iptables-localhost-nodeports", "false"),
                                   Pair("cleanup", "true")));
}

TEST(ConfigOption, AnEmptyValueIsOne) {
  const Parsed parsed = parse({"-c", "f", "--healthz-bind-address=", "--own"});
  EXPECT_THAT(parsed.sources.flags, ElementsAre(Pair("healthz-bind-address", "")));
  EXPECT_TRUE(parsed.own);
}

TEST(ConfigOption, TheLastOneHoldsAndListsAddUp) {
  const Parsed parsed = parse({"-c", "f", "--v=2", "--v=4", "--nodeport-addresses=a,b", "--nodeport-addresses", "c"});
  EXPECT_THAT(parsed.sources.flags, UnorderedElementsAre(Pair("v", "4"), Pair("nodeport-addresses", "a,b,c")));
}

TEST(ConfigOption, WithoutAFileThereIsNothingToDo) {
  EXPECT_THROW(parse({"--cluster-cidr=10.0.0.0/8"}), CLI::RequiredError);
}

}  // namespace
}  // namespace limpet::cli
