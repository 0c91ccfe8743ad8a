#include "lb/service/config_kubernetes.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "lb/service/kubernetes_files.h"
#include "lb/service/return_path.h"

namespace limpet::service {
namespace {

/// Of the services of objects, as the configuration's own are warned of: one warning for all that lack a detector.
void warn_of_what_cannot_work(const std::string& file, const Config& config, std::vector<Diagnostic>& diagnostics) {
  const auto warn = [&](std::string message) {
    diagnostics.push_back({file, 0, 0, Severity::warning, std::move(message)});
  };
  const NodeConfig& node = config.node;
  const Service* undetected = nullptr;
  std::size_t more = 0;
  for (std::size_t i = config.native_services; i < config.services.size(); ++i) {
    const Service& service = config.services[i];
    const auto& vip = service.cluster_ip;
    if (vip && (node.node_ip == vip || std::ranges::find(node.addresses, *vip) != node.addresses.end())) {
      warn("service " + service.name + ": clusterIP " + vip->to_string() +
           " is also an address of this node: connections from it are masqueraded");
    }
    const auto lost = lost_replies(service, node);
    if (!lost) continue;
    if (lost->cause != LostReplies::Cause::no_detector) {
      warn(describe(*lost, service, node));
    } else if (undetected == nullptr) {
      undetected = &service;
    } else {
      ++more;
    }
  }
  if (undetected != nullptr) warn(describe(*lost_replies(*undetected, node), *undetected, node, more));
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
