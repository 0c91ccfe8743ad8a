// divert_private_network.h: a network of the test's own, that dies with the test's process.
//
//   as_is      root: a new network and mount namespace
//   rootless   an ordinary user: user 65534 in a new user namespace, root there, with network and mount namespaces
//
// /run is a tmpfs there, so that locks and files of the machine's own network are out of reach. Single-threaded
// programs only.
#pragma once

#include <ostream>
#include <string>

#include "lb/divert/command.h"

namespace limpet::test {

enum class Privilege { as_is, rootless };
inline void PrintTo(Privilege privilege, std::ostream* out) {
  *out << (privilege == Privilege::as_is ? "as is" : "rootless");
}

/// Enter. Empty on success, else the reason why it cannot be (skip the test with it).
std::string enter_private_network(Privilege privilege);

/// Run a command line (words separated by single spaces) that must succeed; its output. Fails the test otherwise.
std::string must(const std::string& command);
/// As `must`, but a command that fails gives "".
std::string attempt(const std::string& command);

}  // namespace limpet::test
