// instance_name.h: the name under which this limpet keeps its state file and its socket.
//
//   default          the machine's first network namespace, where the kernel gives it a number of its own (Linux 6.18)
//   netns-COOKIE     any other: SO_NETNS_COOKIE (Linux 5.14), which no other namespace has had since boot
//
// Rules and flows belong to a network namespace, and so do the tables. Its inode number would not do: it is used again as
// soon as the namespace is gone, and the next one would take over the flows of another. Cookies are not used again before
// the next boot, and a state file of another boot is set aside.
#pragma once

#include <string>

namespace limpet::node {

/// "default" where the kernel has no cookies.
std::string instance_name();

}  // namespace limpet::node
