#include "lb/service/config_affinity.h"

#include <cstdint>
#include <optional>
#include <string_view>

#include "lb/service/config_values.h"

namespace limpet::service {
namespace {

constexpr flow::Seconds kDefaultTimeout{10800};
constexpr std::string_view kGroup = "group ";

enum class Scope { port, service };

void read_scope(Fields& client_ip, Service& service) {
  Scope scope = Scope::port;
  client_ip.read("scope", format::Choice<Scope>{{"port", Scope::port}, {"service", Scope::service}}, scope);
  if (scope == Scope::service) service.affinity_group = "service " + service.name.substr(0, service.name.find(':'));
  std::string group;
  if (!client_ip.read("group", format::InstanceName{}, group)) return;
  if (client_ip.has("scope")) client_ip.error("group", "group and scope exclude each other; remove one of the two");
  service.affinity_group = std::string(kGroup) + group;
}

void read_client_ip(Fields& client_ip, Service& service) {
  std::uint64_t seconds = 0;
  if (client_ip.read("timeoutSeconds", format::Number{0, 86400}, seconds)) {
    service.affinity_timeout = flow::Seconds{static_cast<flow::Seconds::rep>(seconds)};
  }
  const format::Choice<AffinityRefresh> refreshes{{"connections", AffinityRefresh::connections},
                                                  {"packets", AffinityRefresh::packets},
                                                  {"never", AffinityRefresh::never}};
  client_ip.read("refresh", refreshes, service.affinity_refresh);
  read_scope(client_ip, service);
  const std::uint64_t bits = service.family() == net::Family::v4 ? 32 : 128;
  client_ip.read("prefixLength", format::Number{1, bits}, service.affinity_prefix);
}

}  // namespace

void read_affinity(Fields& fields, Service& service) {
  constexpr std::string_view kKey = "sessionAffinity";
  const YAML::Node node = fields.find(kKey);
  if (!node.IsDefined()) return;
  if (!node.IsMap()) {
    const format::Choice<std::optional<flow::Seconds>> words{{"None", std::nullopt}, {"ClientIP", kDefaultTimeout}};
    if (const auto value = fields.parse(node, kKey, words)) service.affinity_timeout = *value;
    return;
  }
  service.affinity_timeout = kDefaultTimeout;
  fields.section(kKey, [&](Fields& affinity) {
    if (!affinity.has("clientIP"))
      affinity.error("clientIP", "sessionAffinity has no clientIP; write ClientIP or None");
    affinity.section("clientIP", [&](Fields& client_ip) { read_client_ip(client_ip, service); });
  });
}

void SharedAffinities::add(const Service& service, const YAML::Mark& at) {
  if (!service.affinity_timeout || !service.shares_affinity()) return;
  const auto [place, fresh] = scopes_.emplace(service.affinity_group, First{service, at});
  if (fresh) return;
  const Service& first = place->second.service;
  const bool prefixes_agree = first.family() != service.family() || first.affinity_prefix == service.affinity_prefix;
  if (first.affinity_timeout == service.affinity_timeout && first.affinity_refresh == service.affinity_refresh &&
      prefixes_agree) {
    return;
  }
  report_.error(at, "shares its clients with " + first.name + " on " + line_of(place->second.at) +
                        ", but states another timeoutSeconds, refresh or prefixLength; write the same");
}

}  // namespace limpet::service
