#include "lb/divert/doctor_fragment.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <vector>

#include "lb/divert/command.h"
#include "lb/divert/doctor_loopback.h"
#include "lb/divert/doctor_queue.h"
#include "lb/divert/nft_command.h"
#include "lb/divert/nft_rules.h"
#include "lb/divert/nft_ruleset.h"
#include "lb/divert/rules.h"
#include "lb/divert/xtables.h"

namespace limpet::divert {

namespace {

using net::Family;
using store::Status;

constexpr std::uint16_t kPort = 4005;
constexpr std::size_t kPayload = 3000;
constexpr std::chrono::milliseconds kPatience{1500};

Status cut_at_1500_bytes() {
  const auto outcome = run({"ip", "link", "set", "lo", "mtu", "1500"});
  if (!outcome) return outcome.error();
  return outcome->ok() ? store::ok() : failure("ip link", *outcome);
}

Status install(const Xtables& tools, Family family) {
  if (const Status socket = tools.probe(family, Feature::socket); !socket) return socket;
  if (const Status queue = tools.probe(family, Feature::queue); !queue) return queue;
  return tools.restore(family, "*raw\n-A PREROUTING" + defragmenting_match(family) +
                                   "\n-A PREROUTING -p udp -m udp --dport " + std::to_string(kPort) +
                                   " -j NFQUEUE --queue-num 0\nCOMMIT\n");
}

Status install_nft(Family family) {
  if (const Status able = NftRuleset::check_queue(family); !able) return able;
  return nft(render_nft_fragment_probe(family));
}

Observation send_large(Family family, const std::string& tools) {
  ProbeQueue queue(0, 0);
  if (!queue.valid()) return {CheckStatus::unknown, std::string("binding a queue: ") + std::strerror(queue.error())};
  const Descriptor sender = udp_at(family, kPort);
  const Loopback to(family, kPort);
  const std::vector<char> payload(kPayload, 'x');
  if (!sender.valid() || ::sendto(sender.get(), payload.data(), payload.size(), 0, to.get(), to.length) < 0) {
    return {CheckStatus::unknown, std::string("sending: ") + std::strerror(errno)};
  }
  const auto packet = queue.next(kPatience);
  if (!packet) return {CheckStatus::missing, tools + ": nothing came to raw PREROUTING"};
  const std::size_t headers = (family == Family::v4 ? 20 : 40) + 8;
  const std::string came =
      std::to_string(packet->bytes.size()) + " of " + std::to_string(headers + kPayload) + " bytes";
  if (packet->bytes.size() == headers + kPayload) return {CheckStatus::found, tools + ": " + came + " in one piece"};
  return {CheckStatus::missing, tools + ": only " + came + " came"};
}

}  // namespace

std::string render_nft_fragment_probe(Family family) {
  return std::string("table ") + (family == Family::v4 ? "ip" : "ip6") +
         " limpet-probe {\n  chain prerouting {\n    type filter hook prerouting priority -300;\n    " +
         nft_defragmenting_rule(family) + "\n    udp dport " + std::to_string(kPort) + " queue num 0\n  }\n}\n";
}

Observation probe_defragmentation(Family family, Backend backend) {
  if (const Status cut = cut_at_1500_bytes(); !cut) return {CheckStatus::unknown, cut.error().message};
  std::string refusals;
  const auto refused = [&](const std::string& message) { refusals += (refusals.empty() ? "" : "; ") + message; };
  for (const Xtables& tools : Xtables::installed()) {
    if (!is_wanted(tools.variant(), backend)) continue;
    const Status installed = install(tools, family);
    if (installed) return send_large(family, tools.name());
    refused(installed.error().message);
  }
  if (backend == Backend::automatic || backend == Backend::nft) {
    const Status installed = install_nft(family);
    if (installed) return send_large(family, "nft");
    refused(installed.error().message);
  }
  if (refusals.empty()) return {CheckStatus::unknown, "the iptables that is asked for is not installed"};
  return {CheckStatus::missing, refusals};
}

}  // namespace limpet::divert
