// sightings.h: one packet, captured more than once.
//
// A capture may hold a packet and what became of it. Two captured packets are one if all that neither routing nor
// translation changes is equal (identification, transport header but ports and checksum, payload; of an ICMP error, what
// it says and which packet it quotes), the second came within kWindow, and
//
//   the addresses are the same    its TTL is one less: forwarded in between; or it was seen at another place of an "any"
//                                 capture with the same TTL. (Equal in all: a retransmission, which is a packet of its own)
//   request, translated           the first went to a service, the second to an endpoint, from the same client or the node
//   reply, translated             the first came from an endpoint, the second from a service, to the client
//
// A translated request tells how the balancer that was at work when the capture was taken knows the connection: the replies
// to it can then be told, whatever endpoint they come from. Only packets of the client are remembered.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "lb/datapath/packet_facts.h"
#include "lb/lab/capture_file.h"
#include "lb/lab/offline_rules.h"
#include "lb/node/node_view.h"

namespace limpet::lab {

using datapath::PacketFacts;

class Sightings {
 public:
  static constexpr std::chrono::seconds kWindow{1};

  /// The references outlive the object.
  Sightings(const OfflineRules& rules, const node::NodeView& node, const net::Address& client)
      : rules_(rules), node_(node), client_(client) {}

  /// Has this packet been remembered before? `bytes` is all of it.
  bool seen_before(const CapturedPacket& captured, std::span<std::byte> bytes, const PacketFacts& facts);
  void remember(const CapturedPacket& captured, std::span<std::byte> bytes, const PacketFacts& facts);
  /// The request, as its client sent it, that `reply` answers, as far as a translated request has told.
  std::optional<net::Tuple> request_of(const net::Tuple& reply) const;

 private:
  struct Sighting {
    std::chrono::microseconds time;
    unsigned ttl;
    Place place;
    PacketFacts facts;
  };
  bool is_translation(const PacketFacts& before, const PacketFacts& now) const;
  void forget(std::chrono::microseconds now);

  const OfflineRules& rules_;
  const node::NodeView& node_;
  net::Address client_;
  std::unordered_map<std::string, std::vector<Sighting>> seen_;  // by what does not change
  std::deque<std::pair<std::chrono::microseconds, std::string>> order_;
  std::map<net::Tuple, net::Tuple> requests_;  // by the reply
};

}  // namespace limpet::lab
