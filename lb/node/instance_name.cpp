#include "lb/node/instance_name.h"

#include <cstdint>

#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

namespace limpet::node {

namespace {

constexpr ino_t kFirstNamespace = 0xEFFFFFF9;  // PROC_NET_INIT_INO, include/linux/proc_ns.h
#ifndef SO_NETNS_COOKIE
constexpr int SO_NETNS_COOKIE = 71;
#endif

bool is_first_namespace() noexcept {
  struct stat status {};
  return ::stat("/proc/self/ns/net", &status) == 0 && status.st_ino == kFirstNamespace;
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

std::string instance_name() {
  if (is_first_namespace()) return "default";
  const std::uint64_t number = cookie();
  return number == 0 ? "default" : "netns-" + std::to_string(number);
}

}  // namespace limpet::node
