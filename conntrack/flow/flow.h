// flow.h: one connection through limpet: who speaks to whom, on either side of the translation.
//
//           outer                    middle                     inner (masqueraded only)
//   client ─────── service   client' ──────── endpoint   egress ──────── endpoint
//
//   outer    what the client sees            client:port   ↔ service:port
//   middle   behind the destination NAT      client:port'  ↔ endpoint:port   port' differs after a tuple clash
//   inner    behind the source NAT           egress:port"  ↔ endpoint:port   known at POSTROUTING
//
// Each is an unordered pair of (address, port) and stands in the flow table's index at most once over all
// flows: that is NAT's uniqueness rule. The ends of a pair never change while it is in the index, so it may
// be compared under the index shard's lock alone; everything else is guarded by the record's own lock.
//
// Lifetime: idle until `deadline`, which every packet moves: last packet + the timeout of the protocol's
// state. A flow is due when now > deadline. A masqueraded flow in TIME_WAIT waits kPortHold at most: its
// port is scarce. A connection adopted in the middle counts as half open until its endpoint has answered.
//
// What the pipeline asks of a connection it asks of the flow, whatever the protocol: TCP and SCTP have a tracker each, in
// the same place; UDP and UDP-Lite have no state but whether the endpoint has answered.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <type_traits>

#include "conntrack/flow/affinity_name.h"
#include "conntrack/flow/endpoint_id.h"
#include "conntrack/flow/instant.h"
#include "conntrack/flow/sctp_state.h"
#include "conntrack/flow/tcp_state.h"
#include "conntrack/net/address.h"
#include "conntrack/store/spinlock.h"

namespace limpet::flow {

enum class KeyRole : std::uint8_t { outer, middle, inner };

/// Where a record is in its life. What a process that was killed has left of it is in flow_table.h.
enum class Phase : std::uint8_t {
  free,    // nobody's
  begun,   // being created: some of its keys may stand in the index
  live,    // complete
  ending,  // being removed
};
inline constexpr std::size_t kKeyRoles = 3;

/// The two ends of a key, the client's side first.
struct Ends {
  const net::AddressPort& near;
  const net::AddressPort& far;
};

/// How long the port of a masqueraded connection is kept after both FINs.
inline constexpr Seconds kPortHold{60};

/// Three cache lines: what every hit reads and writes; the ends that a hit compares and writes into the packet; the rest.
struct alignas(64) Flow {
  store::SpinLock lock;
  std::atomic<Phase> phase{Phase::free};
  net::Protocol protocol{};
  bool masquerade = false;
  bool confirmed = false;  // the client has proved itself
  bool replied = false;    // the endpoint has answered
  bool shared = false;     // another connection, which goes to the endpoint directly, was seen on the middle pair
  bool direct = false;     // goes to an endpoint directly itself: never rewritten, its outer key alone is linked
  // The flow table's own; see flow_table.h. By KeyRole.
  struct Link {
    std::atomic<std::uint32_t> next{0};  // guarded by the bucket's lock; prefetching looks without
    std::atomic<std::uint32_t> tag{0};
  };
  std::array<bool, kKeyRoles> linked{};
  bool refreshes_affinity = false;  // each packet of the client makes its affinity last longer
  std::atomic<std::uint32_t> generation{0};
  std::array<Link, kKeyRoles> links;
  union {
    AffinityName remembered;  // of a flow: its client's affinity
    std::uint32_t next_free;  // of a free record
  };
  Instant deadline{};  // idle until then: retired
  EndpointId endpoint_id;

  net::AddressPort client;   // as it sends
  net::AddressPort service;  // as it addresses
  net::AddressPort endpoint;

  net::AddressPort client_near;  // as it is known behind the destination NAT: the client, perhaps with another port
  net::AddressPort egress;       // port 0: not masqueraded, or not yet
  union {
    TcpTracker tcp;  // unless the protocol is SCTP
    SctpTracker sctp;
  };

  Flow() noexcept : remembered{}, tcp{} {}

  Ends ends(KeyRole role) const noexcept {
    switch (role) {
      case KeyRole::outer:
        return {client, service};
      case KeyRole::middle:
        return {client_near, endpoint};
      case KeyRole::inner:
        break;
    }
    return {egress, endpoint};
  }
  bool is_tcp() const noexcept { return protocol == net::Protocol::tcp; }
  bool is_sctp() const noexcept { return protocol == net::Protocol::sctp; }

  /// Nothing has been seen of the connection yet, which is of this protocol.
  void start(net::Protocol of) noexcept;
  /// Account for one packet of the connection.
  void see(const net::PacketView& packet, Direction direction) noexcept {
    if (direction == Direction::reply) replied = true;
    if (is_tcp()) [[likely]] {
      tcp.see(packet, direction);
    } else if (is_sctp()) {
      sctp.see(packet, direction);
    }
  }
  /// Begin in the middle: the connection was there before limpet.
  void adopt() noexcept;
  /// It has ended: a packet that opens a connection (net::opens_connection) begins another one on the same ends.
  bool over() const noexcept { return is_tcp() ? tcp.over() : is_sctp() && sctp.over(); }
  /// The client asks for a connection, and the endpoint has neither granted nor refused it. If over() follows, it has refused.
  bool opening() const noexcept { return is_tcp() ? tcp.state() == TcpState::syn_sent : is_sctp() && sctp.opening(); }
  /// Does this packet of the client, which see() knows, show that it has received what the endpoint sent it?
  bool proves_client(const net::PacketView& packet) const noexcept {
    if (is_tcp()) [[likely]]
      return tcp.proves_client(packet);
    return is_sctp() ? sctp.proves_client(packet) : replied;
  }
  /// Could this be a flow in use? For records found in a file: damaged ones must not be believed.
  bool is_whole() const noexcept;
  /// Cheapest to lose: nobody has answered, or it is over.
  bool half_open() const noexcept;
  /// Move the deadline: called once for each packet that belongs to the flow.
  void touch(const Timeouts& timeouts, Instant now) noexcept;
};
static_assert(sizeof(Flow) == 192);
static_assert(std::is_trivially_destructible_v<Flow>, "records outlive the process");
static_assert(sizeof(SctpTracker) <= sizeof(TcpTracker));
static_assert(std::is_trivially_copyable_v<TcpTracker> && std::is_trivially_copyable_v<SctpTracker>);

}  // namespace limpet::flow
