#include "lb/service/config_reader.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <utility>

#include <unistd.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include "lb/service/config_kubernetes.h"
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

/// Notes where the document that is being parsed has its content.
class ContentMark : public YAML::EventHandler {
 public:
  const YAML::Mark& mark() const noexcept { return mark_; }

  void OnDocumentStart(const YAML::Mark& /*of "---"*/) override { begins_ = true; }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& at, YAML::anchor_t) override { note(at); }
  void OnAlias(const YAML::Mark& at, YAML::anchor_t) override { note(at); }
  void OnScalar(const YAML::Mark& at, const std::string&, YAML::anchor_t, const std::string&) override { note(at); }
  void OnSequenceStart(const YAML::Mark& at, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    note(at);
  }
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark& at, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {
    note(at);
  }
  void OnMapEnd() override {}

 private:
  void note(const YAML::Mark& at) {
    if (std::exchange(begins_, false)) mark_ = at;
  }

  bool begins_ = false;
  YAML::Mark mark_;
};

/// Where a second document begins. YAML::LoadAll would tell too, but yaml-cpp 0.7 never gets past a comma outside of
/// brackets: it reads empty documents there without end.
std::optional<YAML::Mark> second_document(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  ContentMark content;
  if (!parser.HandleNextDocument(content) || !parser.HandleNextDocument(content)) return std::nullopt;
  return content.mark();
}

/// The file's only document; undefined, and complained of, if there is none or another one.
YAML::Node parse(const std::string& text, Report& report) {
  const YAML::Node nothing(YAML::NodeType::Undefined);
  try {
    const std::optional<YAML::Mark> second = second_document(text);
    const YAML::Node document = YAML::Load(text);
    if (document.IsNull()) {
      report.error(YAML::Mark{}, "the configuration is empty; a minimal one is " + std::string(kMinimal));
      return nothing;
    }
    if (second) report.error(*second, "a second document begins here; put everything into one");
    return document;
  } catch (const YAML::Exception& error) {
    report.error(error.mark, "not YAML: " + error.msg + "; check indentation, quotes and brackets here and just above");
    return nothing;
  }
}

/// Of a path that the configuration names; "-" is none.
std::string seen_from_process(const std::string& path, const std::string& config) {
  return path.empty() || path == "-" ? path : (std::filesystem::path(config).parent_path() / path).string();
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
    config.rules.file = seen_from_process(config.rules.file, file);
    config.rules.ipsets = seen_from_process(config.rules.ipsets, file);
    for (std::string& path : config.kubernetes_files) path = seen_from_process(path, file);
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
  LoadedConfig loaded = read_config(text.str(), path, host_name());
  if (!loaded.config) return loaded;
  std::vector<Diagnostic> more = load_kubernetes(path, *loaded.config);
  std::move(more.begin(), more.end(), std::back_inserter(loaded.diagnostics));
  if (has_errors(loaded.diagnostics)) loaded.config.reset();
  return loaded;
}

}  // namespace limpet::service
