// doctor_packet.h: does a packet arrive that was queued and rewritten at every hook?
//
//   a UDP packet to oneself      client :4000 ──▶ :4001
//     OUTPUT       by port       destination := :4002, mark bit set
//     POSTROUTING  by mark bit   source := :4010, mark bit cleared
//     PREROUTING   by port       destination := :4003
//     INPUT        by port       source := :4020
//   the receiver at :4003 must hear from :4020
//
// These are the four hooks of the datapath `rewrite`, the tables that it uses there (raw, mangle), its rewriting
// (conntrack/net/nat.h), and its mark. Ports only: a packet on lo keeps its first route, whatever its address becomes.
// In a sandbox only (doctor_sandbox.h); it takes at most about three seconds.
#pragma once

#include "conntrack/net/address.h"
#include "lb/divert/doctor_check.h"
#include "lb/divert/options.h"

namespace limpet::divert {

/// `backend`: whose rules may be used.
Observation probe_packet(net::Family family, Backend backend);

/// The rules of this probe for nft, which no other part of limpet writes. Pure.
std::string render_nft_probe(net::Family family);

}  // namespace limpet::divert
