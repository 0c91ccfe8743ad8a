#include "lb/divert/instance_lock.h"

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace limpet::divert {

namespace {

using store::Error;
using store::ErrorKind;

constexpr auto kPause = std::chrono::milliseconds(20);

/// 0, or the errno.
int bind_name(int fd) noexcept {
  constexpr std::string_view kName("\0limpet", 7);  // the leading NUL makes it abstract
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, kName.data(), kName.size());
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + kName.size());
  return ::bind(fd, reinterpret_cast<const sockaddr*>(&address), length) == 0 ? 0 : errno;
}

}  // namespace

store::Result<InstanceLock> InstanceLock::take(std::chrono::milliseconds patience) {
  InstanceLock lock(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  int error = lock.fd_ < 0 ? errno : bind_name(lock.fd_);
  const auto give_up = std::chrono::steady_clock::now() + patience;
  while (error == EADDRINUSE && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(kPause);
    error = bind_name(lock.fd_);
  }
  if (error == 0) return lock;
  if (error != EADDRINUSE) {
    return Error{ErrorKind::unavailable, std::string("cannot take the socket @limpet: ") + std::strerror(error)};
  }
  return Error{ErrorKind::unavailable,
               "another limpet runs in this network namespace; stop it first (`ss -xap | grep @limpet` "
               "shows which it is), or use another network namespace"};
}

InstanceLock::~InstanceLock() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace limpet::divert
