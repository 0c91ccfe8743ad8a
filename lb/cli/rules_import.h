// rules_import.h: the services of an iptables program as native ones, and in what they then differ.
//
//   a frontend's route for everybody ──▶ the view of the clusterIP, of the nodePort
//   both views together              ──▶ endpoints: all of them, those of the smaller view with this node's name
//   the nodePort's is the smaller    ──▶ externalTrafficPolicy: Local;   the clusterIP's: internalTrafficPolicy: Local
//   shares                           ──▶ weights, unless they are even;  recent lists ──▶ sessionAffinity: ClientIP
//   ! -s NETWORK is masqueraded, or -s NETWORK takes a short circuit     ──▶ node.podCIDRs
//
// The result is what `limpet check` takes. Whatever the program does and it does not, or the other way round, is a note:
// routes for some sources only, the node's own endpoints reached from inside where today's short circuit leads to all of
// them, shares that do not fit one weight, round robin, lists that differ, addresses that are neither clusterIP nor
// nodePort, rules that stay literal. Pure.
#pragma once

#include <string>
#include <vector>

#include "lb/cli/rules_file.h"
#include "lb/rules/meaning.h"

namespace limpet::cli {

struct ImportedRules {
  std::string yaml;
  std::vector<std::string> notes;  // "default/web:http: …"
};

/// `node`: what to call this node.
ImportedRules import_services(const LoadedRules& loaded, const rules::Meaning& meaning, const std::string& node);

}  // namespace limpet::cli
