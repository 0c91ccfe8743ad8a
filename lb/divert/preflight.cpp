#include "lb/divert/preflight.h"

#include <algorithm>
#include <fstream>
#include <optional>
#include <system_error>

#include "lb/divert/long_packets.h"
#include "lb/divert/plan_parts.h"

namespace limpet::divert {

namespace {

using datapath::DiversionPlan;
using net::Family;
using std::filesystem::path;

/// nullopt if the kernel has no such setting.
std::optional<int> sysctl(const path& root, const char* name) {
  std::ifstream file(root / "proc/sys" / name);
  int value = 0;
  if (file >> value) return value;
  return std::nullopt;
}

bool has_bridge(const path& root) {
  std::error_code ignored;
  const std::filesystem::directory_iterator interfaces(root / "sys/class/net", ignored);
  return std::any_of(begin(interfaces), end(interfaces), [&](const auto& entry) {
    std::error_code missing;
    return std::filesystem::exists(entry.path() / "bridge", missing);
  });
}

struct FamilySettings {
  Family family;
  const char* forwarding;
  const char* bridge;
};
constexpr FamilySettings kSettings[] = {
    {Family::v4, "net/ipv4/ip_forward", "net/bridge/bridge-nf-call-iptables"},
    {Family::v6, "net/ipv6/conf/all/forwarding", "net/bridge/bridge-nf-call-ip6tables"}};

/// "net/ipv4/ip_forward" as sysctl(8) writes it.
std::string dotted(std::string name) {
  std::replace(name.begin(), name.end(), '/', '.');
  return name;
}

}  // namespace

std::vector<std::string> preflight(const DiversionPlan& plan, const std::vector<node::DeviceLimits>& devices,
                                   const path& root) {
  std::vector<std::string> warnings;
  const bool bridged = has_bridge(root);
  for (const FamilySettings& settings : kSettings) {
    const DiversionPlan part = part_of(plan, settings.family);
    if (part.services.empty()) continue;
    if (sysctl(root, settings.forwarding) == 0) {
      warnings.push_back(dotted(settings.forwarding) +
                         " is 0: clients do not reach endpoints on other machines; set it to 1");
    }
    if (bridged && sysctl(root, settings.bridge).value_or(0) == 0) {
      warnings.push_back(
          dotted(settings.bridge) +
          " is not 1: answers between ports of one bridge pass untranslated; modprobe br_netfilter, set it to 1");
    }
  }
  const bool loopback_endpoint = std::any_of(plan.endpoints.begin(), plan.endpoints.end(), [](const auto& endpoint) {
    return endpoint.at.address.is_v4() && endpoint.at.address.is_loopback();
  });
  if (loopback_endpoint && sysctl(root, "net/ipv4/conf/all/route_localnet") == 0) {
    warnings.push_back(
        "net.ipv4.conf.all.route_localnet is 0: endpoints at 127.0.0.0/8 serve this node's own clients only; set it to "
        "1");
  }
  if (plan.services.empty()) return warnings;
  for (const LongPackets& found : find_long_packets(devices)) {
    warnings.push_back(found.device + " has " + found.limits +
                       ": longer packets than a queue carries come cut off, and are dropped where they need "
                       "translation; " +
                       found.remedy);
  }
  return warnings;
}

std::vector<std::string> preflight(const DiversionPlan& plan) {
  const auto devices = node::read_device_limits();
  auto warnings = preflight(plan, devices ? *devices : std::vector<node::DeviceLimits>{}, "/");
  if (!devices) warnings.push_back(devices.error().message + ": whether packets fit into a queue is not known");
  return warnings;
}

}  // namespace limpet::divert
