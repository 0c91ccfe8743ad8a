#include "lb/lab/packet_path.h"

#include <algorithm>
#include <utility>

#include "conntrack/net/nat.h"
#include "lb/service/pipeline_settings.h"

namespace limpet::lab {

using datapath::Hook;
using Kind = PacketFacts::Kind;

namespace {

/// One client's: no more are needed, whatever the configuration provides for.
constexpr std::uint32_t kMostEntries = 1U << 16;
constexpr std::uint32_t kAnyInterface = 1;
/// Flows that are over make way as often as the daemon's sweep goes round.
constexpr std::chrono::seconds kSweep{10};
/// So that no instant is the clock's zero, which means "never" to some.
constexpr flow::Instant kBegin{std::chrono::hours(24)};
/// No IP packet that a queue can hold is longer.
constexpr std::size_t kLongest = 65535 + 40;

service::Config sized(service::Config config) {
  config.tables.flows = std::min(config.tables.flows, kMostEntries);
  config.tables.affinity = std::min(config.tables.affinity, kMostEntries);
  return config;
}

bool names(const net::Tuple& tuple, const net::Address& address) {
  return tuple.source.address == address || tuple.destination.address == address;
}

}  // namespace

store::Result<std::unique_ptr<PacketPath>> PacketPath::build(const service::Config& config, DescribedNode node,
                                                             const net::Address& client, std::uint64_t seed) {
  auto slots = std::make_unique<datapath::EndpointSlots>(service::count_endpoints(config.services));
  service::Identities identities(*slots);
  auto snapshot = service::Snapshot::build(config, identities);
  if (!snapshot) return snapshot.error();
  return std::unique_ptr<PacketPath>(
      new PacketPath(sized(config), std::move(node), std::move(*snapshot), std::move(slots), client, seed));
}

PacketPath::PacketPath(const service::Config& config, DescribedNode node,
                       std::shared_ptr<const service::Snapshot> snapshot,
                       std::unique_ptr<datapath::EndpointSlots> slots, const net::Address& client, std::uint64_t seed)
    : node_(std::move(node)),
      client_(client),
      slots_(std::move(slots)),
      snapshot_(std::move(snapshot)),
      rules_(snapshot_->diversion(node_.view), config.mark_mask, config.divert_direct),
      sightings_(rules_, node_.view, client),
      affinity_({.capacity_v4 = config.tables.affinity, .capacity_v6 = config.tables.affinity, .key = {seed, 1}}),
      flows_({.capacity = config.tables.flows, .key = {seed, 2}, .timeouts = config.timeouts}),
      ports_(service::make_port_pool(config)),
      fragments_({.capacity = config.tables.fragments, .key = {seed, 3}, .timeout = config.timeouts.frag}),
      balancer_(*slots_, snapshot_, affinity_),
      pipeline_(service::pipeline_options(config), balancer_, flows_, ports_, fragments_),
      load_(1, slots_->capacity()),
      worker_{pick::Rng(seed), counters_, load_.shard(0), &recorder_} {}

void PacketPath::Recorder::on(const datapath::CrossingReport& report) noexcept {
  crossing->hit = report.hit;
  crossing->decision = report.decision;
  crossing->outcome = report.outcome;
}

std::vector<Crossing> PacketPath::walk(const CapturedPacket& captured) {
  tell_time(captured.time);
  bytes_.assign(captured.bytes.begin(), captured.bytes.end());
  bytes_.resize(std::max(bytes_.size(), std::min(captured.length, kLongest)));
  mark_ = 0;

  Crossing about;
  about.number = captured.number;
  about.time = captured.time;
  about.before = facts_of(bytes_);
  if (sightings_.seen_before(captured, bytes_, about.before)) {
    ++again_;
    return {};
  }
  if (!is_clients(about.before)) return {};
  ++packets_;
  sightings_.remember(captured, bytes_, about.before);
  if (readdress(bytes_, about.before)) about.captured = about.before.tuple;

  const net::Tuple tuple = facts_of(bytes_).tuple;
  const std::uint32_t in = node_.in_interface != 0 ? node_.in_interface : kAnyInterface;
  const auto goes_to_node = [&] { return node_.view.is_local(facts_of(bytes_).tuple.destination.address); };
  if (!node_.view.is_local(tuple.source.address)) {
    if (cross(Hook::prerouting, in, about)) cross(goes_to_node() ? Hook::input : Hook::postrouting, in, about);
  } else if (cross(Hook::output, 0, about) && cross(Hook::postrouting, 0, about) && goes_to_node()) {
    if (cross(Hook::prerouting, kAnyInterface, about)) cross(Hook::input, kAnyInterface, about);
  }
  if (crossings_.empty()) {
    about.after = about.before;
    crossings_.push_back(std::move(about));
  }
  return std::exchange(crossings_, {});
}

bool PacketPath::is_clients(const PacketFacts& facts) {
  if (facts.kind == Kind::unreadable) return false;
  const bool error = facts.kind == Kind::icmp_error;
  if (names(facts.tuple, client_) || (error && names(facts.quoted, client_))) return true;
  if (sightings_.request_of(facts.tuple)) return true;
  return flows_.find(error ? facts.quoted : facts.tuple).operator bool();
}

void PacketPath::tell_time(std::chrono::microseconds time) {
  if (!first_) first_ = time;
  const auto since = std::chrono::duration_cast<flow::Milliseconds>(time - *first_);
  now_ = std::max(now_, kBegin + since);
  if (now_ - swept_ < kSweep) return;
  swept_ = now_;
  pipeline_.sweep(flows_.records_in_use(), now_, worker_);
}

bool PacketPath::readdress(std::span<std::byte> bytes, const PacketFacts& facts) {
  if (facts.kind != Kind::transport) return false;
  const net::Tuple request = sightings_.request_of(facts.tuple).value_or(facts.tuple.reversed());
  net::Rewrite to;
  {
    const flow::LockedFlow flow = flows_.find(request);
    if (!flow || flow.role() != flow::KeyRole::outer || flow->direct || request.source != flow->client) return false;
    if (flow->deadline < now_) return false;
    to = {flow->endpoint, flow->egress.port != 0 ? flow->egress : flow->client_near};
  }
  if (facts.tuple.source == to.source && facts.tuple.destination == to.destination) return false;
  net::PacketView view;
  if (net::parse(bytes, view) != net::ParseError::none) return false;
  net::rewrite(view, to, net::ChecksumMode::incremental);
  return true;
}

datapath::Packet PacketPath::packet_at(Hook hook, std::uint32_t in_interface, const net::Address& destination) {
  datapath::Packet packet{.bytes = bytes_, .hook = hook, .mark = mark_};
  packet.in_interface = hook == Hook::output ? 0 : in_interface;
  if (hook == Hook::output || hook == Hook::postrouting) {
    const node::Route* const route = node_.view.route_to(destination);
    packet.out_interface = route != nullptr ? route->interface : kAnyInterface;
  }
  return packet;
}

bool PacketPath::cross(Hook hook, std::uint32_t in_interface, const Crossing& about) {
  PacketFacts before = facts_of(bytes_);
  if (!rules_.divert(before, hook, mark_)) return true;
  crossings_.push_back(about);
  Crossing& crossing = crossings_.back();
  crossing.hook = hook;
  crossing.before = std::move(before);
  recorder_.crossing = &crossing;
  const datapath::Packet packet = packet_at(hook, in_interface, crossing.before.tuple.destination.address);
  crossing.verdict = pipeline_.process(packet, node_.view, now_, worker_);
  crossing.after = facts_of(bytes_);
  if (crossing.decision) crossing.service = service_of(crossing.before.tuple, hook, packet.in_interface);
  if (crossing.verdict.set_mark) mark_ = crossing.verdict.mark;
  return crossing.verdict.accept;
}

std::string PacketPath::service_of(const net::Tuple& tuple, Hook hook, std::uint32_t in_interface) const {
  datapath::NewConnection connection;
  connection.tuple = tuple;
  connection.hook = hook;
  connection.in_interface = in_interface;
  const service::Match match = snapshot_->match(connection, node_.view);
  return match.port == nullptr ? "" : match.port->service().name;
}

}  // namespace limpet::lab
