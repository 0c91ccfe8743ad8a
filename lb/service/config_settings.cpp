#include <algorithm>

#include "lb/affinity/affinity.h"
#include "lb/affinity/recent_match.h"
#include "lb/service/config_parts.h"

namespace limpet::service {
namespace {

constexpr format::Number kQueue{0, 65535};
constexpr format::Number kCount{1, affinity::kMostWorkers};  // a thread, and buffers of tens of MiB, each
constexpr format::Number kQueueLength{1, 0xffffffff};
constexpr format::Number kBatch{1, 1024};  // recvmmsg takes UIO_MAXIOV messages at most
constexpr format::Number kCheckSeconds{0, 86400};
constexpr format::Number kTableSize{1, 1U << 31};
constexpr format::Number kFragments{1, 1U << 24};
constexpr format::Number kEndpoints{1, 1U << 24};
constexpr format::Number kReplies{0, 1'000'000};
constexpr format::Number kBurst{1, 1'000'000};
constexpr format::Text kFile{"the path of a file"};
constexpr format::Number kTicks{1, 10'000};  // of kernels: 100, 250, 300 or 1000
constexpr format::Limit kListTotal{1, 1U << 31};
constexpr format::Number kPacketListTotal{0, affinity::RecentMatch::kMostStamps};
constexpr format::Number kListMemory{1, 1U << 24};  // 16 TiB

void read_queues(Fields& top, Config& config) {
  top.section("queues", [&](Fields& queues) {
    std::uint32_t count = config.queues.count;
    queues.read("first", kQueue, config.queues.first);
    queues.read("count", kCount, count);
    queues.read("maxLength", kQueueLength, config.queues.max_length);
    queues.read("batch", kBatch, config.queues.batch);
    if (config.queues.first + count > 65536) {
      queues.error("count", "queues " + std::to_string(config.queues.first) + " to " +
                                std::to_string(config.queues.first + count - 1) +
                                " do not exist; the last one is 65535");
    } else {
      config.queues.count = static_cast<std::uint16_t>(count);
    }
  });
}

void read_divert(Fields& top, Config& config) {
  const format::Choice<RuleBackend> backends{{"auto", RuleBackend::automatic},
                                             {"iptables", RuleBackend::iptables},
                                             {"iptables-nft", RuleBackend::iptables_nft},
                                             {"iptables-legacy", RuleBackend::iptables_legacy},
                                             {"nft", RuleBackend::nft}};
  const format::Choice<Defragment> defragment{{"auto", Defragment::automatic}, {"never", Defragment::never}};
  top.section("divert", [&](Fields& divert) {
    divert.read("backend", backends, config.backend);
    divert.read("direct", format::Flag{}, config.divert_direct);
    divert.read("defragment", defragment, config.defragment);
    std::uint32_t seconds = static_cast<std::uint32_t>(config.divert_check.count());
    if (divert.read("checkSeconds", kCheckSeconds, seconds)) config.divert_check = std::chrono::seconds(seconds);
  });
}

void read_masquerade_ports(Fields& top, Config& config) {
  constexpr std::string_view kKey = "masqueradePorts";
  if (!top.read_list(kKey, format::Ports{}, config.masquerade_ports)) return;
  if (config.masquerade_ports.empty()) {
    top.error(kKey, "masqueradePorts holds no range; write at least one, as in [1024-29999]");
    return;
  }
  std::vector<PortRange> sorted = config.masquerade_ports;
  std::sort(sorted.begin(), sorted.end());
  for (std::size_t i = 1; i < sorted.size(); ++i) {
    if (sorted[i].first > sorted[i - 1].last) continue;
    top.error(kKey, "port " + std::to_string(sorted[i].first) + " is in two ranges; make the ranges disjoint");
  }
}

void read_choices(Fields& top, Config& config) {
  bool rewrite = true;
  top.read("datapath", format::Choice<bool>({{"rewrite", true}}, "offload, route"), rewrite);
  top.read("midstream",
           format::Choice<Midstream>{
               {"affinity", Midstream::affinity}, {"pick", Midstream::pick}, {"drop", Midstream::drop}},
           config.midstream);
  top.read("rejectWith", format::Choice<RejectWith>{{"icmp", RejectWith::icmp}, {"tcp-reset", RejectWith::tcp_reset}},
           config.reject_with);
  top.read("icmpEcho", format::Choice<IcmpEcho>{{"ignore", IcmpEcho::ignore}, {"reply", IcmpEcho::reply}},
           config.icmp_echo);
  top.read("onDeath", format::Choice<OnDeath>{{"hold", OnDeath::hold}, {"bypass", OnDeath::bypass}}, config.on_death);
  top.read("stop", format::Choice<OnStop>{{"keep", OnStop::keep}, {"remove", OnStop::remove}}, config.on_stop);
}

/// Tables and rates: what is bounded.
void read_limits(Fields& top, Config& config) {
  top.section("tables", [&](Fields& tables) {
    tables.read("flows", kTableSize, config.tables.flows);
    tables.read("affinity", kTableSize, config.tables.affinity);
    config.tables.affinity_ipv6 = config.tables.affinity;
    tables.read("affinityIPv6", kTableSize, config.tables.affinity_ipv6);
    tables.read("fragments", kFragments, config.tables.fragments);
    tables.read("endpoints", kEndpoints, config.tables.endpoints);
    tables.read("scopes", kEndpoints, config.tables.scopes);
  });
  top.section("replies", [&](Fields& replies) {
    replies.read("perSecond", kReplies, config.replies.per_second);
    replies.read("burst", kBurst, config.replies.burst);
  });
}

void read_timeouts(Fields& top, Config& config) {
  top.section("timeouts", [&](Fields& timeouts) {
    for (const flow::Timeouts::Field& field : flow::Timeouts::fields()) {
      timeouts.read(field.name, format::Seconds{}, config.timeouts.*field.member);
    }
  });
}

/// What outlives the process, and where it answers whom.
void read_instance(Fields& top, Config& config) {
  top.read("instance", format::InstanceName{}, config.instance);
  top.section("state", [&](Fields& state) {
    state.read("path", format::FileOr{"auto, none, or an absolute path on a tmpfs"}, config.state_path);
  });
  top.section("control", [&](Fields& control) {
    control.read("socket", format::FileOr{"auto, none, or an absolute path"}, config.control_socket);
  });
  top.read("healthz", format::AddressPort{}, config.healthz);
}

/// An iptables program.
void read_rules(Fields& top, RulesConfig& config) {
  top.section("rules", [&](Fields& rules) {
    rules.read_required("file", kFile, config.file);
    rules.read("ipsets", kFile, config.ipsets);
    rules.read("lenient", format::Flag{}, config.lenient);
    rules.read("compiled", format::Flag{}, config.compiled);
    rules.read("hz", kTicks, config.hz);
    rules.section("recent", [&](Fields& recent) {
      recent.read("ipListTotal", kListTotal, config.ip_list_tot);
      recent.read("ipPacketListTotal", kPacketListTotal, config.ip_pkt_list_tot);
      recent.read("memoryMiB", kListMemory, config.recent_mib);
    });
    const format::Choice<bool> on_reload{{"reset", false}, {"persist", true}};
    if (rules.read("nthOnReload", on_reload, config.nth_persists) && config.nth_persists) {
      warn_without_effect(rules, "nthOnReload", "a running limpet does not reload its rules");
    }
  });
}

void read_kubernetes_files(Fields& top, std::vector<std::string>& files) {
  top.section("kubernetes", [&](Fields& kubernetes) {
    if (!kubernetes.has("files")) kubernetes.error("files", "kubernetes has no files; write a list of paths");
    kubernetes.read_list("files", kFile, files);
  });
}

}  // namespace

void read_settings(Fields& top, Config& config) {
  read_choices(top, config);
  read_queues(top, config);
  top.section("marks", [&](Fields& marks) { marks.read("mask", format::Mark{}, config.mark_mask); });
  read_divert(top, config);
  read_masquerade_ports(top, config);
  read_limits(top, config);
  read_timeouts(top, config);
  read_instance(top, config);
  read_rules(top, config.rules);
  read_kubernetes_files(top, config.kubernetes_files);
}

}  // namespace limpet::service
