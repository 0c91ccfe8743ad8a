#include "lb/service/config_reader.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include <unistd.h>
#include <yaml-cpp/yaml.h>

#include "lb/service/config_parts.h"

namespace limpet::service {
namespace {

constexpr std::string_view kMinimal =
    "services: [{name: default/web:http, clusterIP: 10.96.0.10, port: 80, endpoints: [{address: 10.0.0.5}]}]";

std::string lower_case(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return result;
}

std::string host_name() {
  std::array<char, 256> name{};
  return gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

/// The file's only document; undefined, and complained of, if there is none or another one.
YAML::Node parse(const std::string& text, Report& report) {
  const YAML::Node nothing(YAML::NodeType::Undefined);
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.empty() || documents.front().IsNull()) {
      report.error(YAML::Mark{}, "the configuration is empty; a minimal one is " + std::string(kMinimal));
      return nothing;
    }
    if (documents.size() > 1) {
      report.error(documents[1].Mark(), "a second document begins here; put everything into one");
    }
    return documents.front();
  } catch (const YAML::Exception& error) {
    report.error(error.mark, "not YAML: " + error.msg + "; check indentation, quotes and brackets here and just above");
    return nothing;
  }
}

void read_document(const YAML::Node& document, std::string_view host_name, Report& report, Config& config) {
  Fields top(document, "the configuration", report);
  if (!document.IsMap()) return;
  config.node.name = lower_case(host_name);
  read_node(top, config.node);
  read_settings(top, config);
  read_services(top, config.node, config.services);
  top.finish();
}

}  // namespace

LoadedConfig read_config(const std::string& text, const std::string& file, std::string_view host_name) {
  Report report(file);
  Config config;
  if (const YAML::Node document = parse(text, report); document.IsDefined()) {
    read_document(document, host_name, report, config);
  }
  LoadedConfig result{std::nullopt, report.take()};
  if (!has_errors(result.diagnostics)) result.config = std::move(config);
  return result;
}

LoadedConfig load_config(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (!(text << file.rdbuf()) && file.peek() != std::ifstream::traits_type::eof()) file.setstate(std::ios::badbit);
  if (file.bad() || !file.is_open()) {
    const std::string cause = errno == 0 ? "unreadable" : std::strerror(errno);
    return {std::nullopt, {{path, 0, 0, Severity::error, "cannot be read: " + cause + "; name a readable file"}}};
  }
  return read_config(text.str(), path, host_name());
}

}  // namespace limpet::service
