#include "lb/node/instance_name.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace limpet::node {

namespace {

constexpr std::uint64_t kFirstInode = 0xEFFFFFF9;  // PROC_NET_INIT_INO, include/linux/proc_ns.h
constexpr std::uint64_t kFirstCookie = 1;          // net/core/net_namespace.c: init_net draws the first one
#ifndef SO_NETNS_COOKIE
constexpr int SO_NETNS_COOKIE = 71;
#endif

std::uint64_t inode_of(const char* path) noexcept {
  struct stat status {};
  return ::stat(path, &status) == 0 ? status.st_ino : 0;
}

/// 0: none.
std::uint64_t cookie() noexcept {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return 0;
  std::uint64_t value = 0;
  socklen_t length = sizeof value;
  if (::getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &value, &length) != 0) value = 0;
  ::close(fd);
  return value;
}

}  // namespace

std::string instance_name(const NamespaceFacts& facts) {
  if (facts.inode == kFirstInode || facts.cookie == kFirstCookie) return "default";
  if (facts.cookie != 0) return "netns-" + std::to_string(facts.cookie);
  if (facts.inode == 0 || facts.inode == facts.inode_of_one) return "default";
  return "netns-inode-" + std::to_string(facts.inode);
}

std::string instance_name() {
  return instance_name(
      {.inode = inode_of("/proc/self/ns/net"), .cookie = cookie(), .inode_of_one = inode_of("/proc/1/ns/net")});
}

}  // namespace limpet::node
