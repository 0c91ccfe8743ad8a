#include "tests/golden/runner/world.h"

#include "lb/service/pipeline_settings.h"
#include "tests/golden/runner/words.h"

namespace limpet::golden {

namespace {

constexpr std::uint32_t kEth0 = 1, kPods = 2;
constexpr store::HashKey kKey{1, 2};

node::NodeView node_view() {
  const auto on = [](std::uint32_t interface, const char* address, unsigned length) {
    return node::InterfaceAddress{
        .interface = interface, .address = net::Address::parse(address).value(), .prefix_length = length};
  };
  const auto default_route = [](const char* everything, const char* gateway) {
    return node::Route{.destination = net::Prefix::parse(everything).value(),
                       .interface = kEth0,
                       .gateway = net::Address::parse(gateway).value()};
  };
  return {
      {on(kEth0, "10.1.0.1", 24), on(kEth0, "fd00:1::1", 64), on(kPods, "10.2.1.1", 24), on(kPods, "fd00:2:1::1", 64)},
      {default_route("0.0.0.0/0", "10.1.0.254"), default_route("::/0", "fd00:1::fe")},
      {{kEth0, "eth0"}, {kPods, "pods"}}};
}

std::shared_ptr<const service::Snapshot> snapshot(const service::Config& config, service::Identities& identities) {
  auto built = service::Snapshot::build(config, identities);
  if (!built) throw SyntaxError(built.error().message);
  return std::move(*built);
}

}  // namespace

std::uint32_t interface_number(const std::string& name) {
  if (name == "eth0") return kEth0;
  if (name == "pods") return kPods;
  throw SyntaxError("not an interface: \"" + name + "\"");
}

World::World(const service::Config& config)
    : slots_(service::count_endpoints(config.services)),
      affinity_({.capacity_v4 = config.tables.affinity, .capacity_v6 = config.tables.affinity, .key = kKey}),
      flows_({.capacity = config.tables.flows, .key = kKey, .timeouts = config.timeouts}),
      ports_(service::make_port_pool(config)),
      fragments_({.capacity = config.tables.fragments, .key = kKey, .timeout = config.timeouts.frag}),
      load_(1, service::count_endpoints(config.services)),
      node_(node_view()),
      balancer_(slots_, snapshot(config, identities_), affinity_),
      pipeline_(service::pipeline_options(config), balancer_, flows_, ports_, fragments_) {}

Departure World::cross(const Arrival& arrival, Bytes packet) {
  Departure departure{.verdict = {}, .bytes = std::move(packet), .mark = arrival.mark, .answer = {}};
  const datapath::Packet diverted{.bytes = departure.bytes,
                                  .hook = arrival.hook,
                                  .mark = arrival.mark,
                                  .in_interface = arrival.in_interface,
                                  .out_interface = arrival.out_interface,
                                  .checksum_pending = arrival.checksum_pending,
                                  .segmented_later = arrival.segmented_later,
                                  .truncated = arrival.truncated};
  departure.verdict = pipeline_.process(diverted, node_, now_, worker_);
  if (departure.verdict.set_mark) departure.mark = departure.verdict.mark;
  Bytes room(net::kMaxReply);
  const auto answer = net::build_reply(departure.verdict.reply, departure.bytes, room, diverted.checksum());
  departure.answer.assign(answer.begin(), answer.end());
  return departure;
}

std::uint64_t World::count(const std::string& counter) const {
  for (std::size_t i = 0; i < datapath::kCounters; ++i) {
    const auto candidate = static_cast<datapath::Counter>(i);
    if (to_string(candidate) == counter) return counters_[candidate];
  }
  throw SyntaxError("not a counter: \"" + counter + "\"");
}

}  // namespace limpet::golden
