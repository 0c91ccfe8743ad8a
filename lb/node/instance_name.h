// instance_name.h: the name under which this limpet keeps its state file and its socket.
//
//   default          the machine's first network namespace: its inode has a number of its own (Linux 6.18), or its
//                    cookie is 1, for it is made before all others
//   netns-COOKIE     any other: SO_NETNS_COOKIE (Linux 5.14), which no other namespace has had since boot
//   netns-inode-N    any other, where the kernel has no cookies and process 1 lives elsewhere
//
// Rules and flows belong to a network namespace, and so do the tables. Its inode number does badly: it is used again as
// soon as the namespace is gone, and the next one would take over the flows of another; but two that live at once have
// different ones. Cookies are not used again before the next boot, and a state file of another boot is set aside.
#pragma once

#include <cstdint>
#include <string>

namespace limpet::node {

/// What the kernel tells of a network namespace.
struct NamespaceFacts {
  std::uint64_t inode = 0;         // 0: it cannot be read
  std::uint64_t cookie = 0;        // 0: the kernel has none
  std::uint64_t inode_of_one = 0;  // that of process 1's; 0: it cannot be read
};

std::string instance_name(const NamespaceFacts& facts);
/// Of this process's network namespace.
std::string instance_name();

}  // namespace limpet::node
