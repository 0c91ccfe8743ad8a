#include "lb/service/config_kubernetes.h"

#include <memory>
#include <utility>

#include "lb/service/kubernetes_files.h"

namespace limpet::service {

std::vector<Diagnostic> load_kubernetes(const std::string& file, Config& config) {
  config.native_services = config.services.size();
  if (config.kubernetes_files.empty()) return {};
  config.kubernetes = std::make_shared<KubernetesFiles>(config.kubernetes_files, config.node.name);
  KubernetesFiles::News news = config.kubernetes->read();
  std::vector<Group> groups{{.name = file, .native = true, .created = {}, .services = std::move(config.services)}};
  for (Group& group : news.groups) groups.push_back(std::move(group));
  std::vector<std::string> losses;
  config.services = settle(std::move(groups), losses);
  for (std::string& loss : losses) news.diagnostics.push_back({file, 0, 0, Severity::warning, std::move(loss)});
  return std::move(news.diagnostics);
}

}  // namespace limpet::service
