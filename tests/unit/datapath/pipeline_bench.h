// pipeline_bench.h: a pipeline on a test bench: scripted decisions in, packets in, verdicts out, as text.
//
//   Bench bench(Family::v4, Protocol::tcp);
//   bench.decider.next(bench.dnat("endpoint"));
//   bench.play({{"PREROUTING client > vip S", "client > endpoint"},
//               {"POSTROUTING endpoint > client SA", "vip > client"}});
//
//   step      HOOK source > destination [TCP flags] [seq=N] [ack=N] [mark=N]
//   outcome   "source > destination [mark=N]"   rewritten; the mark as the packet then bears it, unless 0
//             "= COUNTER"                       accepted, not a byte changed
//             "x COUNTER"                       dropped
//   ends      a name of the cast below, or NAME:PORT: its address with another port
//
//   client     198.51.100.7:4242   2001:db8:7::7      outside the cluster
//   local      10.128.0.5:5000     2001:db8:128::5    a process of this node
//   vip, vip2  10.96.0.1:80, .2    fd00:96::1, ::2    services
//   endpoint   10.2.0.5:8080       fd00:2::5          slot 1; endpoint2 is .6, slot 2
//   pod        10.2.0.5:4242       fd00:2::5          a client on the endpoint's own address
//   egress     10.2.0.1:4242       fd00:2::1          the node, towards the endpoints (interface 2)
//
// Whatever is sent, send() also checks: one outcome is counted; what is not rewritten keeps every byte and its mark;
// what is rewritten keeps its length and, unless the packet was bad, has right checksums.
#pragma once

#include <array>
#include <charconv>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "conntrack/flow/take_over.h"
#include "lb/datapath/pipeline.h"
#include "tests/support/packet_builder.h"
#include "tests/unit/datapath/scripted_decider.h"

namespace limpet::datapath {

inline constexpr std::uint32_t kMark = 0x1000;
inline constexpr std::uint32_t kPodInterface = 2;
inline constexpr std::array kOutcomes{Counter::rewritten,
                                      Counter::accepted_direct,
                                      Counter::accepted_miss,
                                      Counter::accepted_not_a_service,
                                      Counter::foreign_syn_ack,
                                      Counter::dropped_too_short,
                                      Counter::dropped_bad_version,
                                      Counter::dropped_bad_header_length,
                                      Counter::dropped_extension_chain,
                                      Counter::dropped_fragment,
                                      Counter::dropped_unsupported,
                                      Counter::dropped_truncated,
                                      Counter::dropped_zero_checksum,
                                      Counter::dropped_midstream,
                                      Counter::dropped_rejected,
                                      Counter::dropped_echo_request,
                                      Counter::dropped_no_local,
                                      Counter::dropped_source_range,
                                      Counter::dropped_unallocated,
                                      Counter::dropped_by_rule,
                                      Counter::dropped_flow_table_full,
                                      Counter::dropped_no_egress,
                                      Counter::dropped_no_port};

/// Addresses and ports as they stand in the bytes of a packet without options or extensions; shares no code with parse.
struct WireEnds {
  net::AddressPort source, destination;
};
inline WireEnds ends_of(std::span<const std::byte> packet) {
  const bool v4 = test::wire::get8(packet, 0) >> 4 == 4;
  const auto family = v4 ? net::Family::v4 : net::Family::v6;
  const std::size_t at = v4 ? 12 : 8, size = v4 ? 4 : 16, l4 = v4 ? 20 : 40;
  return {{net::Address::from_wire(family, &packet[at]), static_cast<std::uint16_t>(test::wire::get16(packet, l4))},
          {net::Address::from_wire(family, &packet[at + size]),
           static_cast<std::uint16_t>(test::wire::get16(packet, l4 + 2))}};
}

struct Sent {
  Verdict verdict;
  test::Bytes bytes;
  std::uint32_t mark = 0;  // as the packet bears it afterwards
  Counter outcome{};
  WireEnds ends() const { return ends_of(bytes); }
};

struct Step {
  std::string packet, outcome;
};

struct BenchOptions {
  MidstreamPolicy midstream = MidstreamPolicy::affinity;
  bool reset_rejected_tcp = false;
  bool track_direct = false;
  std::uint32_t flows = 1024;
  std::vector<flow::PortInterval> ports{{1024, 29999}, {61000, 65535}};
  std::vector<std::uint16_t> node_ports{31332};
  bool with_addresses = true;  // false: a node without any, so without an egress address
};

class Bench {
 public:
  Bench(net::Family family, net::Protocol protocol, const BenchOptions& options = {})
      : family_(family),
        protocol_(protocol),
        options_(options),
        memory_(flow::FlowTable::memory(options.flows)),
        node_(options.with_addresses ? node_view() : node::NodeView()) {
    restart();
    const bool v4 = family == net::Family::v4;
    name("client", v4 ? "198.51.100.7:4242" : "[2001:db8:7::7]:4242");
    name("local", v4 ? "10.128.0.5:5000" : "[2001:db8:128::5]:5000");
    name("vip", v4 ? "10.96.0.1:80" : "[fd00:96::1]:80");
    name("vip2", v4 ? "10.96.0.2:80" : "[fd00:96::2]:80");
    name("endpoint", v4 ? "10.2.0.5:8080" : "[fd00:2::5]:8080");
    name("endpoint2", v4 ? "10.2.0.6:8080" : "[fd00:2::6]:8080");
    name("pod", v4 ? "10.2.0.5:4242" : "[fd00:2::5]:4242");
    name("egress", v4 ? "10.2.0.1:4242" : "[fd00:2::1]:4242");
    for (const auto& id : {kEndpoint, kEndpoint2}) slots.set(id, EndpointSlots::ready | EndpointSlots::serving);
  }
  ~Bench() {
    std::uint64_t outcomes = 0;
    for (const Counter counter : kOutcomes) outcomes += counters[counter];
    EXPECT_EQ(counters[Counter::packets], outcomes) << "packets are the sum of their outcomes";
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  static constexpr EndpointId kEndpoint{1, 101}, kEndpoint2{2, 102};

  void name(const std::string& who, const std::string& at) { name(who, net::AddressPort::parse(at).value()); }
  void name(const std::string& who, const net::AddressPort& at) { cast_[who] = at; }
  net::AddressPort at_name(const std::string& text) const {
    const std::size_t colon = text.find(':');
    net::AddressPort end = cast_.at(text.substr(0, colon));
    if (colon != std::string::npos) end.port = static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1)));
    return end;
  }
  Decision dnat(const std::string& endpoint, bool masquerade = false) const {
    return {.action = Action::dnat,
            .reason = Reason::picked,
            .affinity = AffinityOutcome::miss,
            .masquerade = masquerade,
            .endpoint_id = endpoint == "endpoint2" ? kEndpoint2 : kEndpoint,
            .endpoint = at_name(endpoint),
            .remembered = {7, 0, 101}};
  }

  /// A packet of the bench's protocol, to be refined.
  test::PacketBuilder packet(const net::AddressPort& from, const net::AddressPort& to) const {
    test::PacketBuilder builder;
    const std::string source = from.address.to_string(), destination = to.address.to_string();
    family_ == net::Family::v4 ? builder.v4(source, destination) : builder.v6(source, destination);
    protocol_ == net::Protocol::tcp ? builder.tcp(from.port, to.port) : builder.udp(from.port, to.port);
    return builder.payload(protocol_ == net::Protocol::udp ? "abc" : "");  // what a SYN carries is to be acknowledged
  }
  test::PacketBuilder packet(const std::string& from, const std::string& to) const {
    return packet(at_name(from), at_name(to));
  }

  /// One crossing: how the packet arrives, then send().
  struct Crossing {
    Bench& bench;
    Packet packet{};
    bool bad = false;         // the packet's checksum was wrong before
    bool own_answer = false;  // the node's own: its mark may change alone
    Crossing& mark(std::uint32_t value) { return packet.mark = value, *this; }
    Crossing& checksum_pending() { return packet.checksum_pending = true, *this; }
    Crossing& segmented_later() { return packet.segmented_later = packet.checksum_pending = true, *this; }
    Crossing& truncated() { return packet.truncated = true, *this; }
    Crossing& bad_checksum() { return bad = true, *this; }
    Crossing& answer() { return own_answer = true, *this; }
    Sent send(test::Bytes bytes) { return bench.send(*this, std::move(bytes)); }
    Sent send(const test::PacketBuilder& builder) { return send(builder.build()); }
  };
  Crossing at(Hook hook) {
    return {*this, {.bytes = {}, .hook = hook, .out_interface = hook == Hook::postrouting ? kPodInterface : 0}};
  }

  /// What became of one packet written as a step.
  std::string play(const std::string& step) {
    std::istringstream words(step);
    std::string hook, from, arrow, to;
    words >> hook >> from >> arrow >> to;
    test::PacketBuilder builder = packet(from, to);
    Crossing crossing = at(hook_of(hook));
    for (std::string word; words >> word;) {
      const std::size_t equals = word.find('=');
      if (equals == std::string::npos) {
        builder.flags(word);
        continue;
      }
      const auto value = static_cast<std::uint32_t>(std::stoul(word.substr(equals + 1), nullptr, 0));
      const std::string key = word.substr(0, equals);
      if (key == "seq") builder.seq(value);
      if (key == "ack") builder.ack(value);
      if (key == "mark") crossing.mark(value);
    }
    return describe(crossing.send(builder));
  }
  void play(std::initializer_list<Step> steps) {
    int line = 0;
    for (const Step& step : steps)
      EXPECT_EQ(play(step.packet), step.outcome) << "step " << ++line << ": " << step.packet;
  }

  std::string describe(const Sent& sent) const {
    if (!sent.verdict.accept) return "x " + std::string(to_string(sent.outcome));
    if (!sent.verdict.rewritten) return "= " + std::string(to_string(sent.outcome));
    const WireEnds ends = sent.ends();
    std::ostringstream text;
    text << describe(ends.source) << " > " << describe(ends.destination);
    if (sent.mark != 0) text << " mark=0x" << std::hex << sent.mark;
    return text.str();
  }
  std::string describe(const net::AddressPort& end) const {
    std::string found;
    for (const auto& [who, at] : cast_) {
      if (at == end) return who;
      if (at.address == end.address) found = who + ":" + std::to_string(end.port);
    }
    return found.empty() ? end.to_string() : found;
  }

  void pass(flow::Milliseconds time) { now += time; }
  /// Another process goes on from the same memory.
  flow::FlowRecovery restart(const std::function<bool(const flow::Flow&)>& wanted = [](const auto&) { return true; }) {
    pipeline_.reset();
    flows_.emplace(flow::FlowTableOptions{.capacity = options_.flows, .key = {1, 2}, .timeouts = {}},
                   std::span(memory_.data(), flow::FlowTable::memory(options_.flows)));
    ports_.emplace(flow::PortPoolOptions{.assignable = options_.ports, .node_ports = options_.node_ports});
    pipeline_.emplace(PipelineOptions{.mark_mask = kMark,
                                      .midstream = options_.midstream,
                                      .reset_rejected_tcp = options_.reset_rejected_tcp,
                                      .track_direct = options_.track_direct},
                      decider, *flows_, *ports_, fragments_);
    return flow::take_over(*flows_, *ports_, wanted);
  }
  /// Let everything expire and go round the whole table.
  void expire_all() {
    pass(std::chrono::hours(24 * 365));
    pipeline_->sweep(flows_->capacity(), now, worker_);
    EXPECT_EQ(flows_->size(), 0u);
  }
  std::size_t sweep() { return pipeline_->sweep(flows_->capacity(), now, worker_); }
  std::uint64_t load_of(FlowEvent event, EndpointId endpoint = kEndpoint) const {
    return load_.count(event, endpoint.slot);
  }
  std::uint32_t flows() const { return flows_->size(); }
  Pipeline& pipeline() { return *pipeline_; }
  const node::NodeView& node() const { return node_; }
  void lose_addresses() { node_ = {}; }
  void observe(Observer& observer) { worker_.observer = &observer; }

  EndpointSlots slots{8};
  ScriptedDecider decider{slots};
  Counters counters;
  flow::Instant now{flow::Milliseconds(1'000'000)};

 private:
  static Hook hook_of(const std::string& text) {
    for (const Hook hook : {Hook::prerouting, Hook::input, Hook::output, Hook::postrouting}) {
      if (to_string(hook) == text) return hook;
    }
    throw std::logic_error("no such hook: " + text);
  }
  static node::NodeView node_view() {
    const auto on = [](std::uint32_t interface, const char* address, unsigned length) {
      return node::InterfaceAddress{
          .interface = interface, .address = net::Address::parse(address).value(), .prefix_length = length};
    };
    return {{on(1, "10.128.0.5", 24), on(1, "2001:db8:128::5", 64), on(kPodInterface, "10.2.0.1", 24),
             on(kPodInterface, "fd00:2::1", 64)},
            {},
            {}};
  }

  Sent send(Crossing& crossing, test::Bytes bytes) {
    const test::Bytes before = bytes;
    std::array<std::uint64_t, kOutcomes.size()> counts{};
    for (std::size_t i = 0; i < kOutcomes.size(); ++i) counts[i] = counters[kOutcomes[i]];
    crossing.packet.bytes = bytes;
    // Every other packet has been announced, as those of a batch are.
    if (counters[Counter::packets] % 2 == 1) crossing.packet.flow_hash = pipeline_->prefetch(crossing.packet.bytes);
    Sent sent{.verdict = pipeline_->process(crossing.packet, node_, now, worker_), .bytes = {}};
    sent.bytes = std::move(bytes);
    sent.mark = sent.verdict.set_mark ? sent.verdict.mark : crossing.packet.mark;
    std::uint64_t counted = 0;
    for (std::size_t i = 0; i < kOutcomes.size(); ++i) {
      if (counters[kOutcomes[i]] == counts[i]) continue;
      counted += counters[kOutcomes[i]] - counts[i];
      sent.outcome = kOutcomes[i];
    }
    EXPECT_EQ(counted, 1u) << "one outcome a packet";
    check(sent, before, crossing);
    return sent;
  }
  static void check(const Sent& sent, const test::Bytes& before, const Crossing& crossing) {
    EXPECT_EQ(sent.verdict.rewritten, sent.outcome == Counter::rewritten);
    EXPECT_EQ(sent.verdict.accept, to_string(sent.outcome).substr(0, 8) != "dropped_");
    EXPECT_EQ(sent.bytes.size(), before.size());
    if (sent.verdict.rewritten) {
      EXPECT_EQ(test::checksums_ok(sent.bytes), !crossing.bad);
      EXPECT_EQ(sent.mark & ~kMark, crossing.packet.mark & ~kMark) << "other bits of the mark";
    } else {
      EXPECT_EQ(sent.bytes, before);
      EXPECT_TRUE(!sent.verdict.set_mark || crossing.own_answer);
    }
  }

  net::Family family_;
  net::Protocol protocol_;
  std::map<std::string, net::AddressPort> cast_;
  BenchOptions options_;
  store::ZeroedMemory memory_;  // outlives the table
  std::optional<flow::FlowTable> flows_;
  std::optional<flow::PortPool> ports_;
  flow::FragmentTable fragments_{{}};
  node::NodeView node_;
  EndpointLoad load_{1, 8};
  WorkerContext worker_{pick::Rng(1), counters, load_.shard(0)};
  std::optional<Pipeline> pipeline_;
};

/// Every scenario in both families and both protocols.
struct Kind {
  net::Family family;
  net::Protocol protocol;
  bool tcp() const { return protocol == net::Protocol::tcp; }
};
inline constexpr Kind kKinds[] = {{net::Family::v4, net::Protocol::tcp},
                                  {net::Family::v4, net::Protocol::udp},
                                  {net::Family::v6, net::Protocol::tcp},
                                  {net::Family::v6, net::Protocol::udp}};
inline std::string kind_name(const testing::TestParamInfo<Kind>& info) {
  return std::string(info.param.tcp() ? "tcp" : "udp") + (info.param.family == net::Family::v4 ? "4" : "6");
}

}  // namespace limpet::datapath
