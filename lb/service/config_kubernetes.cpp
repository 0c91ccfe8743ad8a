#include "lb/service/config_kubernetes.h"

#include <memory>
#include <utility>

#include "lb/service/kubernetes_files.h"
#include "lb/service/return_path.h"

namespace limpet::service {
namespace {

/// Of the services of objects, as the configuration's own are warned of.
void warn_of_what_cannot_work(const std::string& file, const Config& config, std::vector<Diagnostic>& diagnostics) {
  const auto warn = [&](const std::string& at, const std::string& message) {
    diagnostics.push_back({at, 0, 0, Severity::warning, message});
  };
  LostReplyComplaints<std::string> lost_replies(config.node);
  for (std::size_t i = config.native_services; i < config.services.size(); ++i) {
    const Service& service = config.services[i];
    if (const auto own = own_vip(service, config.node)) warn(file, "service " + service.name + ": " + *own);
    lost_replies.add(service, file, file, warn);
  }
  lost_replies.finish(warn);
}

}  // namespace

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
  warn_of_what_cannot_work(file, config, news.diagnostics);
  return std::move(news.diagnostics);
}

}  // namespace limpet::service
