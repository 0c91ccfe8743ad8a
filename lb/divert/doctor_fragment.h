// doctor_fragment.h: does the never-matching rule (iptables: socket, rules.h; nft: tproxy, nft_rules.h) make the kernel
// put datagrams together, without connection tracking?
//
//   3,000 bytes of UDP to oneself, lo's MTU being 1500: cut behind POSTROUTING, queued at raw PREROUTING.
//   There it must be one packet of 3,000 bytes and headers, not the first 1,480 of them
//
// In a sandbox only (doctor_sandbox.h); it takes at most about two seconds.
#pragma once

#include <string>

#include "conntrack/net/address.h"
#include "lb/divert/doctor_check.h"
#include "lb/divert/options.h"

namespace limpet::divert {

/// `backend`: whose rules may be used.
Observation probe_defragmentation(net::Family family, Backend backend);

/// The rules of this probe for nft. Pure.
std::string render_nft_fragment_probe(net::Family family);

}  // namespace limpet::divert
