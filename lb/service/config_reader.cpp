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

#include "lb/service/config_kube_proxy.h"
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

/// Undefined: there is no limpet.yaml.
void read_document(const YAML::Node& document, std::string_view host_name, KubeProxyConfig& kube_proxy, Report& report,
                   Config& config) {
  const bool exists = document.IsDefined();
  Fields top(exists ? document : YAML::Node(YAML::NodeType::Map), "the configuration", report);
  if (exists && !document.IsMap()) return;
  config.node.name = lower_case(host_name);
  kube_proxy.defaults(config);
  read_node(top, config.node);
  read_settings(top, config);
  kube_proxy.apply(config);
  read_services(top, config.node, config.services);
  top.finish();
}

LoadedConfig conclude(Config config, std::vector<Diagnostic> diagnostics) {
  LoadedConfig result{std::nullopt, std::move(diagnostics)};
  if (!has_errors(result.diagnostics)) result.config = std::move(config);
  return result;
}

void append(std::vector<Diagnostic> more, std::vector<Diagnostic>& all) {
  std::move(more.begin(), more.end(), std::back_inserter(all));
}

/// nullopt, and complained of: it cannot be read.
std::optional<std::string> text_of(const std::string& path, std::vector<Diagnostic>& diagnostics) {
  errno = 0;
  std::ifstream file(path);
  std::ostringstream text;
  if (!(text << file.rdbuf()) && file.peek() != std::ifstream::traits_type::eof()) file.setstate(std::ios::badbit);
  if (!file.bad() && file.is_open()) return text.str();
  const std::string cause = errno == 0 ? "unreadable" : std::strerror(errno);
  diagnostics.push_back({path, 0, 0, Severity::error, "cannot be read: " + cause + "; name a readable file"});
  return std::nullopt;
}

/// The sources, told apart.
struct Texts {
  std::optional<std::string> file;  // of limpet.yaml
  std::string text;
  KubeProxyConfig kube_proxy;
  std::vector<Diagnostic> diagnostics;
};

Texts read_files(const ConfigSources& sources) {
  Texts texts;
  for (const std::string& path : sources.files) {
    std::optional<std::string> text = text_of(path, texts.diagnostics);
    if (!text) continue;
    const bool kube_proxy = KubeProxyConfig::recognises(*text);
    if (kube_proxy ? texts.kube_proxy.has_file() : texts.file.has_value()) {
      const std::string kind = kube_proxy ? "KubeProxyConfiguration" : "limpet.yaml";
      texts.diagnostics.push_back({path, 0, 0, Severity::error, "is another " + kind + "; name one of them"});
    } else if (kube_proxy) {
      texts.kube_proxy.read_file(*text, path);
    } else {
      texts.file = path;
      texts.text = std::move(*text);
    }
  }
  for (const auto& [name, value] : sources.flags) texts.kube_proxy.read_flag(name, value);
  return texts;
}

}  // namespace

LoadedConfig read_config(const std::string& text, const std::string& file, std::string_view host_name) {
  KubeProxyConfig nothing;
  return read_config(text, file, host_name, nothing);
}

LoadedConfig read_config(const std::string& text, const std::string& file, std::string_view host_name,
                         KubeProxyConfig& kube_proxy) {
  Report report(file);
  Config config;
  if (const YAML::Node document = parse(text, report); document.IsDefined()) {
    read_document(document, host_name, kube_proxy, report, config);
    config.rules.file = seen_from_process(config.rules.file, file);
    config.rules.ipsets = seen_from_process(config.rules.ipsets, file);
    for (std::string& path : config.kubernetes_files) path = seen_from_process(path, file);
  }
  return conclude(std::move(config), report.take());
}

LoadedConfig load_config(const ConfigSources& sources) {
  Texts texts = read_files(sources);
  if (has_errors(texts.diagnostics)) return {std::nullopt, std::move(texts.diagnostics)};
  LoadedConfig loaded;
  if (texts.file) {
    loaded = read_config(texts.text, *texts.file, host_name(), texts.kube_proxy);
  } else {
    Report report(sources.files.empty() ? "the command line" : sources.files.front());
    Config config;
    read_document(YAML::Node(YAML::NodeType::Undefined), host_name(), texts.kube_proxy, report, config);
    loaded = conclude(std::move(config), report.take());
  }
  append(texts.kube_proxy.take_diagnostics(), loaded.diagnostics);
  if (has_errors(loaded.diagnostics)) loaded.config.reset();
  if (!loaded.config) return loaded;
  append(load_kubernetes(texts.file.value_or(""), *loaded.config), loaded.diagnostics);
  if (has_errors(loaded.diagnostics)) loaded.config.reset();
  return loaded;
}

}  // namespace limpet::service
