#include "lb/divert/doctor_packet.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>  // before linux/: it defines what both do
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <poll.h>
#include <sys/socket.h>

#include "conntrack/net/nat.h"
#include "lb/divert/doctor_loopback.h"
#include "lb/divert/doctor_queue.h"
#include "lb/divert/nft_command.h"
#include "lb/divert/nft_ruleset.h"
#include "lb/divert/xtables.h"

namespace limpet::divert {

namespace {

using net::Family;
using store::Status;
using namespace std::chrono_literals;

constexpr std::uint32_t kMark = 0x1000;
constexpr std::uint16_t kClient = 4000;
constexpr std::uint16_t kService = 4001;
constexpr std::uint16_t kRouted = 4002;
constexpr std::uint16_t kEndpoint = 4003;
constexpr std::uint16_t kMasqueraded = 4010;
constexpr std::uint16_t kRestored = 4020;
constexpr std::string_view kText = "limpet";
constexpr auto kPatience = 1500ms;

/// What is done to the packet at each hook. 0: the port stays.
struct Step {
  std::uint8_t hook;
  const char* name;
  std::uint16_t source;
  std::uint16_t destination;
  std::uint32_t mark;
};
constexpr std::array<Step, 4> kSteps{{{NF_INET_LOCAL_OUT, "OUTPUT", 0, kRouted, kMark},
                                      {NF_INET_POST_ROUTING, "POSTROUTING", kMasqueraded, 0, 0},
                                      {NF_INET_PRE_ROUTING, "PREROUTING", 0, kEndpoint, 0},
                                      {NF_INET_LOCAL_IN, "INPUT", kRestored, 0, 0}}};

std::string queued_port(const char* chain, std::uint16_t port) {
  return std::string("-A ") + chain + " -p udp -m udp --dport " + std::to_string(port) + " -j NFQUEUE --queue-num 0\n";
}

/// Asks first, so that a variant that can do only half of it leaves nothing behind that would queue packets twice.
Status install(const Xtables& tools, Family family) {
  for (const Feature feature : {Feature::queue, Feature::mark}) {
    if (const Status able = tools.probe(family, feature); !able) return able;
  }
  const Status mangle =
      tools.restore(family, "*mangle\n-A POSTROUTING -m mark --mark 0x1000/0x1000 -j NFQUEUE --queue-num 0\n" +
                                queued_port("INPUT", kEndpoint) + "COMMIT\n");
  if (!mangle) return mangle;
  return tools.restore(family,
                       "*raw\n" + queued_port("PREROUTING", kRouted) + queued_port("OUTPUT", kService) + "COMMIT\n");
}

Status install_nft(Family family) {
  const Status able = NftRuleset::check_queue(family);
  return able ? nft(render_nft_probe(family)) : able;
}

/// False if these are no bytes that limpet can rewrite.
bool take_step(ProbeQueue::Held& packet, const Step& step) {
  net::PacketView view;
  if (net::parse(packet.bytes, view) != net::ParseError::none) return false;
  net::Rewrite to{view.tuple.source, view.tuple.destination};
  if (step.source != 0) to.source.port = step.source;
  if (step.destination != 0) to.destination.port = step.destination;
  net::rewrite(view, to, packet.checksum_ready ? net::ChecksumMode::incremental : net::ChecksumMode::full);
  packet.mark = step.mark;
  return true;
}

/// The sender's port of what arrives there; 0: nothing did.
std::uint16_t hear(int socket) {
  pollfd readable{.fd = socket, .events = POLLIN, .revents = 0};
  if (::poll(&readable, 1, static_cast<int>(kPatience.count())) <= 0) return 0;
  std::array<char, 64> text;
  sockaddr_storage from{};
  socklen_t length = sizeof from;
  const ssize_t received = ::recvfrom(socket, text.data(), text.size(), 0, reinterpret_cast<sockaddr*>(&from), &length);
  if (received < 0 || std::string_view(text.data(), static_cast<std::size_t>(received)) != kText) return 0;
  // The port stands at the same place in both families' addresses.
  return ntohs(reinterpret_cast<const sockaddr_in&>(from).sin_port);
}

/// Empty if all went well, else what did not.
std::string send_through(Family family, ProbeQueue& queue) {
  const Descriptor client = udp_at(family, kClient);
  const Descriptor endpoint = udp_at(family, kEndpoint);
  if (!client.valid() || !endpoint.valid()) return std::string("no address on lo: ") + std::strerror(errno);
  const Loopback service(family, kService);
  if (::sendto(client.get(), kText.data(), kText.size(), 0, service.get(), service.length) < 0) {
    return std::string("sending: ") + std::strerror(errno);
  }
  for (const Step& step : kSteps) {
    auto packet = queue.next(kPatience);
    const std::string where = step.name;
    if (!packet) return "the packet was not queued at " + where;
    if (packet->hook != step.hook) return "queued at hook " + std::to_string(packet->hook) + ", not at " + where;
    if (!take_step(*packet, step)) return "the bytes queued at " + where + " are not the packet that was sent";
    queue.accept(*packet);
  }
  const std::uint16_t from = hear(endpoint.get());
  if (from == kRestored) return "";
  return from == 0 ? "the rewritten packet did not arrive" : "arrived, but from port " + std::to_string(from);
}

Observation pass_packet(Family family, const std::string& rules) {
  ProbeQueue queue(0, NFQA_CFG_F_GSO);
  if (!queue.valid()) return {CheckStatus::missing, std::string("binding a queue: ") + std::strerror(queue.error())};
  const std::string failure = send_through(family, queue);
  if (!failure.empty()) return {CheckStatus::missing, rules + ": " + failure};
  return {CheckStatus::found, rules + ": rewritten at OUTPUT, POSTROUTING, PREROUTING and INPUT, arrived"};
}

}  // namespace

std::string render_nft_probe(Family family) {
  const auto chain = [](const char* name, const char* hook, int priority, const std::string& match) {
    return std::string("  chain ") + name + " {\n    type filter hook " + hook + " priority " +
           std::to_string(priority) + ";\n    " + match + " queue num 0\n  }\n";
  };
  const auto port = [](std::uint16_t number) { return "udp dport " + std::to_string(number); };
  return std::string("table ") + (family == Family::v4 ? "ip" : "ip6") + " limpet-probe {\n" +
         chain("output", "output", -300, port(kService)) + chain("prerouting", "prerouting", -300, port(kRouted)) +
         chain("postrouting", "postrouting", -150, "meta mark & 0x1000 == 0x1000") +
         chain("input", "input", -150, port(kEndpoint)) + "}\n";
}

Observation probe_packet(Family family, Backend backend) {
  std::string refusals;
  const auto refused = [&](const std::string& message) { refusals += (refusals.empty() ? "" : "; ") + message; };
  for (const Xtables& tools : Xtables::installed()) {
    if (!is_wanted(tools.variant(), backend)) continue;
    const Status installed = install(tools, family);
    if (installed) return pass_packet(family, tools.name());
    refused(installed.error().message);
  }
  if (backend == Backend::automatic || backend == Backend::nft) {
    const Status installed = install_nft(family);
    if (installed) return pass_packet(family, "nft");
    refused(installed.error().message);
  }
  return {CheckStatus::missing, refusals.empty() ? "the iptables that is asked for is not installed" : refusals};
}

}  // namespace limpet::divert
