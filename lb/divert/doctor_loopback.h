// doctor_loopback.h: UDP sockets on lo, for probes that send a packet to themselves.
#pragma once

#include <cstdint>

#include <netinet/in.h>
#include <sys/socket.h>

#include "conntrack/net/address.h"
#include "lb/divert/doctor_descriptor.h"

namespace limpet::divert {

/// ::1 or 127.0.0.1, as the kernel wants it.
struct Loopback {
  sockaddr_storage storage{};
  socklen_t length = 0;

  Loopback(net::Family family, std::uint16_t port) {
    if (family == net::Family::v4) {
      auto& address = reinterpret_cast<sockaddr_in&>(storage);
      address.sin_family = AF_INET;
      address.sin_port = htons(port);
      address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
      length = sizeof address;
    } else {
      auto& address = reinterpret_cast<sockaddr_in6&>(storage);
      address.sin6_family = AF_INET6;
      address.sin6_port = htons(port);
      address.sin6_addr = in6addr_loopback;
      length = sizeof address;
    }
  }
  const sockaddr* get() const noexcept { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// Bound there, non-blocking; not valid, and errno set, if that cannot be.
inline Descriptor udp_at(net::Family family, std::uint16_t port) {
  const int domain = family == net::Family::v4 ? AF_INET : AF_INET6;
  Descriptor socket(::socket(domain, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const Loopback at(family, port);
  if (::bind(socket.get(), at.get(), at.length) != 0) socket.reset();
  return socket;
}

}  // namespace limpet::divert
