#include "lb/divert/doctor_machine.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <system_error>

#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include "lb/divert/doctor_descriptor.h"
#include "lb/divert/long_packets.h"

namespace limpet::divert {

namespace {

using std::filesystem::path;

constexpr const char* kGroup = "machine";
/// What a queue asks for (lb/queue/queue_socket.h): more only saves it from bursts.
constexpr long kReceiveBuffer = 32L << 20;
constexpr long kSendBuffer = 256L << 10;
/// Masquerading to one endpoint takes a port a connection.
constexpr long kFewPorts = 4096;

std::optional<std::string> first_line(const path& file) {
  std::ifstream stream(file);
  std::string line;
  if (std::getline(stream, line)) return line;
  return std::nullopt;
}

std::optional<std::string> sysctl(const path& root, const std::string& name) {
  std::string file = name;
  std::replace(file.begin(), file.end(), '.', '/');
  return first_line(root / "proc/sys" / file);
}

Check check(const std::string& name, CheckStatus status, std::string detail, std::string consequence = "",
            std::string remedy = "") {
  return {kGroup, name, status, std::move(detail), std::move(consequence), std::move(remedy)};
}

Check check_privileges(const path& root) {
  std::ifstream status(root / "proc/self/status");
  std::uint64_t held = 0;
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("CapEff:")) held = std::stoull(line.substr(7), nullptr, 16);
  }
  std::string lacking;
  if (!(held >> CAP_NET_ADMIN & 1)) lacking = "CAP_NET_ADMIN";
  if (!(held >> CAP_NET_RAW & 1)) lacking += lacking.empty() ? "CAP_NET_RAW" : ", CAP_NET_RAW";
  if (lacking.empty()) return check("privileges", CheckStatus::ok, "CAP_NET_ADMIN, CAP_NET_RAW");
  return check("privileges", CheckStatus::attention, "this process lacks " + lacking,
               "`limpet run` as this user can serve namespaces of its own only, not this machine's network",
               "run it as root, or with these capabilities");
}

Check check_forwarding(const path& root, const std::string& name) {
  const auto value = sysctl(root, name);
  if (!value) return check(name, CheckStatus::unknown, "no such setting", "that family cannot be forwarded");
  if (*value != "0") return check(name, CheckStatus::ok, *value);
  return check(name, CheckStatus::attention, *value, "clients do not reach endpoints on other machines",
               "sysctl -w " + name + "=1");
}

Check check_information(const path& root, const std::string& name, const std::string& note) {
  const auto value = sysctl(root, name);
  if (!value) return check(name, CheckStatus::unknown, "no such setting");
  return check(name, CheckStatus::ok, *value + "; " + note);
}

/// How many ports of first-last the range low-high leaves.
long ports_left(long first, long last, long low, long high) {
  const long shared = std::min(last, high) - std::max(first, low) + 1;
  return last - first + 1 - std::max(shared, 0L);
}

Check check_local_ports(const path& root) {
  const std::string name = "net.ipv4.ip_local_port_range";
  const auto value = sysctl(root, name);
  std::istringstream words(value.value_or(""));
  long low = 0;
  long high = 0;
  if (!(words >> low >> high)) return check(name, CheckStatus::unknown, "not readable");
  const long left = ports_left(1024, 29999, low, high) + ports_left(61000, 65535, low, high);
  const std::string detail = std::to_string(low) + "-" + std::to_string(high) + "; leaves " + std::to_string(left) +
                             " of the default masqueradePorts";
  if (left >= kFewPorts) return check(name, CheckStatus::ok, detail);
  return check(name, CheckStatus::attention, detail,
               "so few connections to one endpoint can be masqueraded at a time; further ones are dropped and counted",
               "narrow the range, as in the kernel's default 32768-60999, or set masqueradePorts");
}

/// May this process go beyond the limit?
bool may_force(int option_name) {
  const Descriptor any(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const int bytes = 4096;
  return any.valid() && ::setsockopt(any.get(), SOL_SOCKET, option_name, &bytes, sizeof bytes) == 0;
}

Check check_buffer(const path& root, const std::string& name, long wanted, int force) {
  const auto value = sysctl(root, name);
  if (may_force(force)) return check(name, CheckStatus::ok, value.value_or("not readable") + "; may be exceeded");
  if (!value) return check(name, CheckStatus::unknown, "not readable");
  const long limit = std::strtol(value->c_str(), nullptr, 10);
  if (limit >= wanted) return check(name, CheckStatus::ok, *value);
  return check(name, CheckStatus::attention, *value + "; may not be exceeded (no CAP_NET_ADMIN of the machine)",
               force == SO_RCVBUFFORCE ? "bursts overrun the queue: the kernel drops, limpet counts"
                                       : "verdicts leave in smaller batches",
               "sysctl -w " + name + "=" + std::to_string(wanted));
}

std::vector<std::string> interfaces(const path& root, const char* marker) {
  std::vector<std::string> names;
  std::error_code failed;
  for (const auto& entry : std::filesystem::directory_iterator(root / "sys/class/net", failed)) {
    std::error_code missing;
    if (std::filesystem::exists(entry.path() / marker, missing)) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

Check check_bridges(const path& root) {
  const auto bridges = interfaces(root, "bridge");
  const auto v4 = sysctl(root, "net.bridge.bridge-nf-call-iptables");
  const auto v6 = sysctl(root, "net.bridge.bridge-nf-call-ip6tables");
  const std::string state = v4 || v6 ? "br_netfilter is there, bridge-nf-call-iptables " + v4.value_or("absent") +
                                           ", -ip6tables " + v6.value_or("absent")
                                     : "no br_netfilter";
  if (bridges.empty()) return check("bridges", CheckStatus::ok, "no bridge; " + state);
  const std::string detail = joined(bridges) + "; " + state;
  if (v4 == "1" && v6 == "1") return check("bridges", CheckStatus::ok, detail);
  return check("bridges", CheckStatus::attention, detail,
               "pods on one bridge answer each other past limpet: such replies are not translated",
               "modprobe br_netfilter; sysctl -w net.bridge.bridge-nf-call-iptables=1 "
               "net.bridge.bridge-nf-call-ip6tables=1");
}

Check check_conntrack(const path& root) {
  const auto count = sysctl(root, "net.netfilter.nf_conntrack_count");
  if (!count) return check("conntrack in use", CheckStatus::ok, "no: not there; limpet needs none");
  if (*count == "0") return check("conntrack in use", CheckStatus::ok, "no: it is there and tracks nothing now");
  return check("conntrack in use", CheckStatus::ok, "yes: " + *count + " connections; it sees client and endpoint");
}

Check check_interfaces(const path& root) {
  std::string list;
  for (const std::string& name : interfaces(root, "mtu")) {
    list += (list.empty() ? "" : ", ") + name + " (mtu " +
            first_line(root / "sys/class/net" / name / "mtu").value_or("?") + ")";
  }
  if (list.empty()) return check("interfaces", CheckStatus::unknown, "/sys is not there");
  return check("interfaces", CheckStatus::ok, list);
}

}  // namespace

Checks check_machine(const path& root) {
  const std::string unharmed = "no source is rewritten before the kernel validates it";
  return {check_privileges(root),
          check_forwarding(root, "net.ipv4.ip_forward"),
          check_forwarding(root, "net.ipv6.conf.all.forwarding"),
          check_information(root, "net.ipv4.conf.all.rp_filter", unharmed),
          check_information(root, "net.ipv4.conf.all.accept_local", unharmed),
          check_information(root, "net.ipv4.conf.all.route_localnet",
                            "needed for nodePorts at 127.0.0.1 and endpoints at 127.0.0.0/8 only"),
          check_local_ports(root),
          check_buffer(root, "net.core.rmem_max", kReceiveBuffer, SO_RCVBUFFORCE),
          check_buffer(root, "net.core.wmem_max", kSendBuffer, SO_SNDBUFFORCE),
          check_bridges(root),
          check_conntrack(root),
          check_interfaces(root)};
}

Check check_long_packets(const store::Result<std::vector<node::DeviceLimits>>& devices) {
  const std::string name = "BIG TCP";
  if (!devices) return check(name, CheckStatus::unknown, devices.error().message);
  std::string limits;
  std::string remedy;
  for (const LongPackets& found : find_long_packets(*devices)) {
    limits += (limits.empty() ? "" : "; ") + found.device + " has " + found.limits;
    remedy += (remedy.empty() ? "" : "; ") + found.remedy;
  }
  if (limits.empty()) return check(name, CheckStatus::ok, "no: every device's super-packets fit into a queue");
  return check(name, CheckStatus::attention, limits,
               "longer packets than a queue carries come cut off: limpet drops and counts those that need translation",
               remedy + "; and the far ends of veth pairs likewise");
}

std::string kernel_release() {
  utsname names{};
  ::uname(&names);
  return names.release;
}

}  // namespace limpet::divert
