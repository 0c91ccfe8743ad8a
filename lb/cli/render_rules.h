// render_rules.h: what an iptables program means, as one JSON object for programs or as a table for people.
//
//   {"services":[{"name","protocol",
//                 "frontends":[{"kind","address","local","port",
//                               "routes":[{"action":"dnat|drop|reject|none","hooks":[…],"when":"-s 10.28.0.0/14",
//                                          "view":"CHAIN","masquerade":["! -s …"],"line":45}]}],
//                 "views":[{"name":"CHAIN","even":true,"rest":0.0,
//                           "affinity":{"seconds":10800,"by":"source","mask":"255.255.255.255","complete":true},
//                           "endpoints":[{"endpoint","share":0.25,"draw","lists":[…],"masquerade":[…],"line":62}]}]}],
//    "masquerade":[{"chain","rule":1,"when"}],"completed":["-t nat -A …"],
//    "apart":[{"line":7,"rule":"nat PREROUTING:1 …","why"}],
//    "rules":29,"compiled":[{"line":55,"rule":"nat KUBE-SVC-…:5 …","how":"keyed|random|nth|recent","run":4}],
//    "literal":[{"line":7,"rule":"nat PREROUTING:1 …","why"}],"skipped":[…]}
//
// Rules `apart` take no part in the services (lb/rules/meaning.h). `compiled` and `literal` are all rules, by what the
// compiler does with them (lb/rules/plan.h): how they are found, and with how many others at once; or why each is looked
// at as it stands.
//
// A view is a cascade: endpoints and their shares; frontends lead to it by its name: its chain, with the numbers of its
// rules (from 1) where that chain is one of the kernel's or holds several. `when` and each of `masquerade` are demands
// as rules spell them; "" is everybody. Unknown is null. Lines are the FILE's; 0 is a rule that was added.
#pragma once

#include <iosfwd>

#include <nlohmann/json.hpp>

#include "lb/cli/rules_file.h"
#include "lb/rules/meaning.h"

namespace limpet::cli {

nlohmann::ordered_json to_json(const LoadedRules& loaded, const rules::Meaning& meaning);
/// `explained`: what to_json() said.
void print_rules_table(const nlohmann::ordered_json& explained, std::ostream& out);

}  // namespace limpet::cli
