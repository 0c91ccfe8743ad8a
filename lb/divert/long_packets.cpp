#include "lb/divert/long_packets.h"

#include <cstdint>
#include <utility>

namespace limpet::divert {

namespace {

constexpr std::uint32_t kUsual = 65536;

struct Limit {
  const char* name;  // ip-link(8)'s
  std::uint32_t node::DeviceLimits::*value;
  std::uint32_t node::DeviceLimits::*leader;  // lowering this one lowers it, too
};
constexpr Limit kLimits[] = {{"gso_max_size", &node::DeviceLimits::gso, nullptr},
                             {"gro_max_size", &node::DeviceLimits::gro, nullptr},
                             {"gso_ipv4_max_size", &node::DeviceLimits::gso_v4, &node::DeviceLimits::gso},
                             {"gro_ipv4_max_size", &node::DeviceLimits::gro_v4, &node::DeviceLimits::gro}};

}  // namespace

std::vector<LongPackets> find_long_packets(const std::vector<node::DeviceLimits>& devices) {
  std::vector<LongPackets> found;
  for (const node::DeviceLimits& device : devices) {
    LongPackets one{device.device, "", "ip link set dev " + device.device};
    for (const Limit& limit : kLimits) {
      if (device.*limit.value <= kUsual) continue;
      one.limits +=
          (one.limits.empty() ? "" : ", ") + std::string(limit.name) + " " + std::to_string(device.*limit.value);
      if (limit.leader != nullptr && device.*limit.leader > kUsual) continue;
      one.remedy += std::string(" ") + limit.name + " " + std::to_string(kUsual);
    }
    if (!one.limits.empty()) found.push_back(std::move(one));
  }
  return found;
}

}  // namespace limpet::divert
