// What becomes of a running limpet's services and rules: objects that change, and rules that another hand has changed.
#include <algorithm>
#include <chrono>
#include <iterator>
#include <set>
#include <string>
#include <utility>

#include <spdlog/spdlog.h>

#include "lb/cli/daemon.h"
#include "lb/service/return_path.h"

namespace limpet::cli {

using store::Status;

namespace {

/// What has left a Service is to leave it, though what is new there does not fit.
service::Group without_new_endpoints(service::Group group, const service::Snapshot& served) {
  std::erase_if(group.services, [&](service::Service& service) {
    const auto port = served.port(service.name, service.family());
    if (!port) return true;
    std::set<net::AddressPort> known;
    for (const service::Endpoint& endpoint : port->service().endpoints) known.insert(endpoint.at);
    std::erase_if(service.endpoints, [&](const service::Endpoint& endpoint) { return !known.contains(endpoint.at); });
    return false;
  });
  return group;
}

}  // namespace

void Daemon::watch_objects() {
  if (!config_.kubernetes) return;
  reloader_ = std::make_unique<control::ObjectReloader>(
      io_, config_.kubernetes, [this](service::KubernetesFiles::News news) { adopt(std::move(news)); });
}

void Daemon::adopt(service::KubernetesFiles::News news) {
  for (const service::Diagnostic& diagnostic : news.diagnostics) {
    const bool lost = diagnostic.severity == service::Severity::error;
    spdlog::log(lost ? spdlog::level::err : spdlog::level::warn, "{}{}", to_string(diagnostic),
                lost ? "; going on with what it said before" : "");
  }
  if (news.groups.empty()) return;
  for (const service::Group& group : news.groups) refused_.erase(group.name);
  for (auto& [name, group] : refused_) news.groups.push_back(std::move(group));
  refused_.clear();
  change_services(std::move(news.groups));
}

void Daemon::change_services(std::vector<service::Group> groups) {
  if (groups.empty()) return;
  const store::Status changed = try_to_change_services(groups);
  if (changed) return;
  if (groups.size() == 1) {
    refuse(std::move(groups.front()), changed.error());
    return;
  }
  const auto middle = groups.begin() + static_cast<std::ptrdiff_t>(groups.size() / 2);
  change_services({std::make_move_iterator(groups.begin()), std::make_move_iterator(middle)});
  change_services({std::make_move_iterator(middle), std::make_move_iterator(groups.end())});
}

void Daemon::refuse(service::Group group, const store::Error& why) {
  const service::Group known = without_new_endpoints(group, *engine_->snapshot());
  const bool taken_up = static_cast<bool>(try_to_change_services({known}));
  const char* const outcome = !taken_up                ? "stays as it was"
                              : known.services.empty() ? "is left out"
                                                       : "goes on without its new endpoints";
  spdlog::error("Service {} cannot be taken up and {}: {}", group.name, outcome, why.message);
  refused_.emplace(group.name, std::move(group));
}

Status Daemon::try_to_change_services(const std::vector<service::Group>& groups) {
  const auto begin = std::chrono::steady_clock::now();
  auto changed = engine_->change(groups);
  if (!changed) return changed.error();
  for (const std::string& loss : changed->losses) spdlog::warn("{}", loss);
  warn_of_what_cannot_work(changed->made);
  change_diversion(changed->delta);
  engine_->publish();
  if (changed->health) health_->update(engine_->health_checked(), config_.node, *engine_->node());
  if (changed->ports == 0) return store::ok();
  const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - begin;
  spdlog::info("services changed: {} service ports gone or new, {} destinations and endpoints diverted more, {:.1f} ms",
               changed->ports, changed->delta.added.services.size() + changed->delta.added.endpoints.size(),
               took.count());
  return store::ok();
}

/// Connections that have ended may have made room for them.
void Daemon::try_refused_again() {
  std::erase_if(refused_, [this](const auto& refused) {
    if (!try_to_change_services({refused.second})) return false;
    spdlog::info("Service {} fits now", refused.first);
    return true;
  });
}

void Daemon::warn_of_what_cannot_work(const service::Snapshot::Ports& ports) {
  const auto node = engine_->node();
  // At start the reader has told of what the configuration alone tells.
  const auto complain = [this](const std::string& what, bool told, const std::string& words) {
    if (complaints_.insert(what).second && !told) spdlog::warn("{}", words);
  };
  for (const auto& port : ports) {
    const service::Service& service = port->service();
    const bool listed = service::own_vip(service, config_.node).has_value();
    if (listed || (service.cluster_ip && node->is_local(*service.cluster_ip))) {
      complain("own VIP " + service.name + " " + service.cluster_ip->to_string(), listed && !ready_,
               service.name + ": " + service::describe_own_vip(*service.cluster_ip));
    }
    const auto lost = service::lost_replies(service, config_.node);
    if (!lost) continue;
    const bool of_the_node = lost->cause == service::LostReplies::Cause::no_detector;
    complain(of_the_node ? "no detector" : "lost replies " + service.name, !ready_,
             service::describe(*lost, service, config_.node));
  }
}

void Daemon::change_diversion(const datapath::PlanDelta& delta) {
  if (delta.empty()) return;
  amend(plan_, delta);
  const auto changed = diverter_.change(delta);
  if (changed) {
    adapted_ = std::chrono::system_clock::now();
    for (const std::string& warning : *changed) {
      if (std::ranges::find(warnings_, warning) == warnings_.end()) spdlog::warn("{}", warning);
    }
    return;
  }
  spdlog::error("cannot adapt the rules to the connections, will try again: {}", changed.error().message);
  read_node_after(kTryAgain);
}

void Daemon::watch_rules() {
  if (config_.divert_check == std::chrono::seconds(0)) return;
  rules_timer_.expires_after(config_.divert_check);
  rules_timer_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    repair_rules();
    watch_rules();
  });
}

void Daemon::repair_rules() {
  if (diverter_.in_doubt()) return;  // they are about to be written again anyway
  const auto drift = diverter_.drift();
  if (!drift) {
    spdlog::warn("cannot look whether the rules still stand: {}", drift.error().message);
    return;
  }
  if (!*drift) return;
  for (const std::string& what : drift->what) spdlog::warn("changed by another hand: {}", what);
  if (const Status repaired = diverter_.repair(*drift); !repaired) {
    spdlog::error("cannot repair the rules, will try again: {}", repaired.error().message);
    read_node_after(kTryAgain);
    return;
  }
  ++drift_repairs_;
  adapted_ = std::chrono::system_clock::now();
  spdlog::info("rules repaired");
}

}  // namespace limpet::cli
