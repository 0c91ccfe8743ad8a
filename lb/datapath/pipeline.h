// pipeline.h: one packet in, one verdict out: the whole product without I/O.
//
//   destination hooks: PREROUTING, OUTPUT              source hooks: POSTROUTING, INPUT
//     outer   client → VIP          dst := endpoint       middle  endpoint → client   src := VIP
//             (masquerade: set the mark bit)              middle  client → endpoint   masqueraded: src := egress:port,
//     inner   endpoint → egress     dst := client                                     clear the mark bit
//     middle  second crossing, or a foreign direct        outer   second crossing     accept
//             flow: accept                                inner   second crossing     accept
//     miss    decide, create the flow, rewrite            miss    accept, never decide
//
// Every rewrite is idempotent: the kernel can queue a packet twice. Nothing half-translated leaves: what must be
// translated and cannot be is dropped and counted by reason. (A flow that is evicted while its packet is between the hooks
// makes that packet a miss at the second.) A TCP SYN on a closed or TIME_WAIT flow, or on one whose egress address has left
// the node, and a UDP packet whose endpoint no longer serves, begin a new connection. A tuple clash (one client port towards one endpoint by two
// ways) is resolved as nf_nat does it: another source port, put in place together with the destination, taken back
// together with the source. A flow whose time is up is none, though no sweep may have met it yet: its pairs and its port
// are free (nf_conntrack_tuple_taken). One that is over keeps them while there are others (nf_nat_used_tuple_harder).
//
// ICMP errors follow the flow of the packet that they quote, as nf_nat translates them:
//
//   destination hooks                                      source hooks
//     outer   client's side, about VIP → client              middle  about client → endpoint
//             dst := endpoint, quoted endpoint → client              src := VIP, quoted client → VIP
//     inner   to the node, about egress → endpoint           middle  about endpoint → client, masqueraded
//             dst := client, quoted src client                       src := egress, quoted dst egress:port
//
// A redirect (IPv4) that quotes a packet of a flow is dropped: who followed it would talk past the translation.
//
// The mark bit brings a packet to the queue at POSTROUTING: to be masqueraded, or, a UDP super-packet, to have its checksum
// made ready for segmentation. The node's own answers (Verdict::reply) carry it past connection tracking, and lose it there.
//
// Files: pipeline.cpp a known flow; pipeline_begin.cpp a new one; pipeline_ports.cpp masquerading; pipeline_icmp.cpp;
// pipeline_fragments.cpp.
//
// Threads: process() from any number of workers; each brings its own WorkerContext (random numbers, counters).
// Cost: one hash, one index probe, one record lock for a known flow. No allocation, no clock, no log.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "conntrack/flow/flow_table.h"
#include "conntrack/flow/fragment_table.h"
#include "conntrack/flow/port_pool.h"
#include "conntrack/net/fragment.h"
#include "conntrack/net/icmp.h"
#include "conntrack/net/nat.h"
#include "conntrack/net/packet.h"
#include "conntrack/net/reply.h"
#include "lb/datapath/counters.h"
#include "lb/datapath/decider.h"
#include "lb/datapath/endpoint_load.h"
#include "lb/datapath/hook.h"
#include "lb/datapath/observer.h"
#include "lb/node/node_view.h"
#include "lb/pick/rng.h"

namespace limpet::datapath {

/// A packet as it was diverted.
struct Packet {
  std::span<std::byte> bytes;  // IP header first; rewritten in place
  Hook hook = Hook::prerouting;
  std::uint32_t mark = 0;
  std::uint32_t in_interface = 0;   // index, 0: none
  std::uint32_t out_interface = 0;  // index, 0: none
  std::uint64_t flow_hash = 0;      // what Pipeline::prefetch() has returned for it; 0: it was not asked
  bool checksum_pending = false;    // NFQA_SKB_CSUMNOTREADY: the transport checksum must be computed in full
  bool segmented_later = false;     // NFQA_SKB_GSO: a super-packet, which the kernel will cut up on its way out
  bool truncated = false;           // NFQA_CAP_LEN: the bytes are not the whole packet, it cannot be written back

  /// What an answer to it must know.
  net::RequestChecksum checksum() const noexcept {
    return checksum_pending || segmented_later || truncated ? net::RequestChecksum::pending
                                                            : net::RequestChecksum::verify;
  }
};

struct Verdict {
  bool accept = true;
  bool rewritten = false;                       // the bytes changed: write them back
  bool set_mark = false;                        // put `mark` in place of the packet's mark
  net::ReplyKind reply = net::ReplyKind::none;  // dropped, but to be answered: built from the bytes, sent by the caller
  std::uint32_t mark = 0;
};

/// A TCP packet without SYN, of no flow: the connection is older than limpet's memory of it.
enum class MidstreamPolicy : std::uint8_t {
  affinity,  // follow the client's live affinity, else drop
  pick,      // treat it as a new connection
  drop,
};

struct PipelineOptions {
  std::uint32_t mark_mask = 0x00001000;  // one bit: "to the queue at POSTROUTING"
  MidstreamPolicy midstream = MidstreamPolicy::affinity;
  bool reset_rejected_tcp = false;  // rejectWith: tcp-reset. Otherwise port unreachable, as every other protocol
  bool answer_echo = false;         // icmpEcho: reply. Echo requests that were diverted are answered
  bool track_direct = false;        // divert.direct: connections made to endpoints without a service are flows, too
};

/// What one worker thread brings along.
struct WorkerContext {
  pick::Rng rng;
  Counters& counters;
  EndpointLoad::Shard& load;
  Observer* observer = nullptr;
};

class Pipeline {
 public:
  Pipeline(const PipelineOptions& options, Decider& decider, flow::FlowTable& flows, flow::PortPool& ports,
           flow::FragmentTable& fragments) noexcept
      : options_(options), decider_(decider), flows_(flows), ports_(ports), fragments_(fragments) {}

  /// Ask for the memory that this packet's flow will be looked up in. A hint, for all packets of a burst before the first is
  /// processed; the result is for Packet::flow_hash and FlowTable's next rounds.
  std::uint64_t prefetch(std::span<std::byte> packet) const noexcept;

  Verdict process(const Packet& packet, const node::NodeView& node, flow::Instant now, WorkerContext& worker);

  /// Look at up to `budget` records of the flow table and retire those that are due. Returns how many were.
  std::size_t sweep(std::size_t budget, flow::Instant now, WorkerContext& worker);

 private:
  /// One call of process().
  struct Crossing {
    const Packet& packet;
    CrossingReport* report = nullptr;  // what an observer will be told
    bool is_fragment = false;          // the first: its checksum covers bytes that are elsewhere
    net::PacketView view;
    const node::NodeView& node;
    flow::Instant now;
    WorkerContext& worker;

    Verdict accept(Counter why) const noexcept;
    Verdict drop(Counter why) const noexcept;
    void count_rewritten() const noexcept;
    void note_hit(const flow::LockedFlow& flow) const noexcept;
  };

  Verdict observe(Crossing& crossing);
  Verdict cross(Crossing& crossing);
  Verdict follow(Crossing& crossing);  // a packet with ports

  // No ports to go by.
  Verdict icmp(Crossing& crossing);
  Verdict icmp_error(net::IcmpView& error, Crossing& crossing);
  std::optional<net::IcmpRewrite> translation(const flow::Flow& flow, flow::KeyRole role, const net::IcmpView& error,
                                              Hook hook) const noexcept;
  Verdict fragment(Crossing& crossing);
  Verdict first_fragment(const net::Fragment& fragment, Crossing& crossing);
  Verdict foreign_fragment(const net::Fragment& fragment, Crossing& crossing);
  void remember(const net::DatagramId& datagram, const flow::FragmentFate& fate, Crossing& crossing);
  Verdict later_fragment(net::Fragment& fragment, Crossing& crossing);
  /// Left alone. Of the node's own answers the mark bit is taken.
  Verdict pass(Crossing& crossing, Counter why) const noexcept;

  // A hit.
  bool outlived(flow::Flow& flow, flow::KeyRole role, const Crossing& crossing);
  bool stays_direct(flow::Flow& flow, const Crossing& crossing);
  static bool lost_egress(const flow::Flow& flow, const Crossing& crossing) noexcept;
  /// Why this packet cannot be rewritten, if so.
  static std::optional<Counter> obstacle(const Crossing& crossing) noexcept;
  Verdict translate(flow::LockedFlow flow, Crossing& crossing);
  Verdict pass_direct(flow::Flow& flow, Crossing& crossing);
  Verdict request(flow::Flow& flow, Crossing& crossing);
  Verdict reply(flow::LockedFlow flow, Crossing& crossing);
  std::optional<Verdict> leave_to_direct(flow::LockedFlow& flow, Crossing& crossing);
  Verdict masquerade(flow::LockedFlow flow, Crossing& crossing);
  Verdict rewrite(Crossing& crossing, const net::AddressPort& source, const net::AddressPort& destination,
                  bool mark) const noexcept;
  /// The packet's mark with the mark bit set or cleared.
  void put_mark(Verdict& verdict, const Packet& packet, bool mark) const noexcept;

  // A miss at a destination hook. nullopt: another worker was faster, or room was made: look again.
  std::optional<Verdict> begin(Crossing& crossing);
  std::optional<Verdict> make_room(Crossing& crossing);
  Decision ask(const Crossing& crossing, bool known_clients_only);
  Decision decide(const Crossing& crossing, bool known_clients_only);
  Verdict refuse(const Decision& decision, const Crossing& crossing) const noexcept;
  Verdict refuse_unfit(Counter why, Crossing& crossing);
  /// `endpoint`: while it is in force, the flow is not asked about again.
  Verdict begin_direct(flow::Flow& flow, EndpointId endpoint, Crossing& crossing);
  bool link_middle(flow::Flow& flow, Crossing& crossing);

  // Pairs: a flow's, and those of flows that need them no longer.
  bool link(flow::Flow& flow, flow::KeyRole role, Crossing& crossing);
  bool link_in_place_of_over(flow::Flow& flow, flow::KeyRole role, Crossing& crossing);
  bool retire_expired(const net::Tuple& pair, Crossing& crossing) noexcept;

  // Masquerading: choose and take back ports.
  bool assign_port(flow::LockedFlow& flow, const net::Address& egress, Crossing& crossing);
  std::optional<std::uint16_t> acquire_port(const flow::PoolKey& pool, std::uint16_t preferred, Crossing& crossing);
  bool reclaim_port(flow::LockedFlow& flow, const flow::PoolKey& pool, Crossing& crossing);
  void hold_port(const flow::Flow& flow);
  void release_port(const flow::Flow& flow) noexcept;

  // Every hit.
  void track(flow::Flow& flow, flow::Direction direction, Crossing& crossing);
  void confirm(flow::Flow& flow, Crossing& crossing);
  void retire(const flow::Flow& flow, flow::Instant now, WorkerContext& worker) noexcept;
  void end(flow::LockedFlow flow, Crossing& crossing) noexcept;  // retire and remove

  PipelineOptions options_;
  Decider& decider_;
  flow::FlowTable& flows_;
  flow::PortPool& ports_;
  flow::FragmentTable& fragments_;
};

}  // namespace limpet::datapath
