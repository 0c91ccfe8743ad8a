#include "lb/cli/config_option.h"

#include <utility>

#include <CLI/CLI.hpp>

#include "lb/service/config_kube_proxy.h"

namespace limpet::cli {
namespace {

std::string joined(const std::vector<std::string>& words, const std::string& between) {
  std::string result;
  for (const std::string& word : words) result += (result.empty() ? "" : between) + word;
  return result;
}

}  // namespace

CLI::Option* add_config(CLI::App& app, service::ConfigSources& sources) {
  for (const service::KubeProxyFlag& flag : service::KubeProxyConfig::flags()) {
    const std::string name(flag.name);
    const std::string dashed = name == "v" ? "-v,--v" : "--" + name;
    const CLI::callback_t note = [&sources, name, flag](const CLI::results_t& values) {
      const std::string value = flag.is_list ? joined(values, ",") : values.back();
      sources.flags.emplace_back(name, flag.is_switch && value.empty() ? "true" : value);
      return true;
    };
    CLI::Option* const option = app.add_option(dashed, note)->take_all()->allow_extra_args(false);
    if (flag.is_switch) option->expected(0, 1);
    option->type_name("VALUE")->group("");  // not in --help: there are more of them than of ours
  }
  CLI::Option* const config =
      app.add_option("-c,--config", sources.files, "Configuration file; kube-proxy's may be named, too");
  app.footer("Flags of kube-proxy are accepted, too, and its KubeProxyConfiguration: see the README");
  return config->type_name("FILE")->allow_extra_args(false)->required();
}

std::vector<std::string> command_line(int argc, const char* const* argv) {
  std::vector<std::string> words;
  for (int i = argc - 1; i > 0; --i) {
    std::string word = argv[i];
    const bool is_short = word.size() > 2 && word[0] == '-' && word[1] != '-' && word[2] == '=';
    if (is_short) word.erase(2, 1);
    if (word.starts_with("--") && word.ends_with('=')) {
      words.emplace_back();
      word.pop_back();
    }
    words.push_back(std::move(word));
  }
  return words;
}

std::string names_of(const service::ConfigSources& sources) {
  return joined(sources.files, " and ");
}

}  // namespace limpet::cli
