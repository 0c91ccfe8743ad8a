#include "lb/divert/doctor_sandbox.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string_view>

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lb/divert/doctor_descriptor.h"

namespace limpet::divert {

namespace {

using store::Error;
using store::ErrorKind;
using store::Result;

// The first byte of what comes back through the pipe.
constexpr char kAnswer = 'A';
constexpr char kRefused = 'R';  // no namespace; the errno's words follow
constexpr char kForbidden = 'F';

void send_back(int fd, char kind, std::string_view text) {
  std::string message(1, kind);
  message += text;
  std::string_view left = message;
  while (!left.empty()) {
    const ssize_t written = ::write(fd, left.data(), left.size());
    if (written < 0) return;
    left.remove_prefix(static_cast<std::size_t>(written));
  }
}

/// Die with the parent. False if it is dead already.
bool tie_to(pid_t parent) {
  return ::prctl(PR_SET_PDEATHSIG, SIGKILL) == 0 && ::getppid() == parent;
}

bool write_file(const char* path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

/// Empty, or what the kernel refuses.
std::string leave_the_machine(int& error) {
  constexpr int kSpaces = CLONE_NEWNET | CLONE_NEWPID;
  if (::unshare(kSpaces) == 0) return "";
  const std::string user = std::to_string(::geteuid());
  const std::string group = std::to_string(::getegid());
  ::prctl(PR_SET_DUMPABLE, 1);  // else /proc/self belongs to root where the program's file cannot be read
  if (::unshare(CLONE_NEWUSER | kSpaces) != 0) {
    error = errno;
    return std::string("unshare: ") + std::strerror(error);
  }
  if (write_file("/proc/self/setgroups", "deny") && write_file("/proc/self/uid_map", "0 " + user + " 1") &&
      write_file("/proc/self/gid_map", "0 " + group + " 1")) {
    return "";
  }
  error = EPERM;
  return "the user cannot be mapped in a user namespace";
}

void bring_up_loopback() {
  const Descriptor any(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  std::memcpy(request.ifr_name, "lo", 3);
  request.ifr_flags = IFF_UP;
  ::ioctl(any.get(), SIOCSIFFLAGS, &request);
}

/// The keeper's life. Never returns: what the caller's stack would run on the way out is the caller's.
[[noreturn]] void keep(pid_t caller, int answer, const std::function<std::string()>& work) {
  if (!tie_to(caller)) ::_exit(1);
  int error = 0;
  if (const std::string refusal = leave_the_machine(error); !refusal.empty()) {
    send_back(answer, error == EPERM || error == EACCES ? kForbidden : kRefused, refusal);
    ::_exit(1);
  }
  const pid_t inmate = ::fork();
  if (inmate == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setenv("XTABLES_LOCKFILE", "/dev/null", 1);
    bring_up_loopback();
    send_back(answer, kAnswer, work());
    ::_exit(0);
  }
  if (inmate < 0) send_back(answer, kRefused, std::string("fork: ") + std::strerror(errno));
  ::close(answer);
  while (::waitpid(inmate, nullptr, 0) < 0 && errno == EINTR) {
  }
  ::_exit(0);
}

/// Everything up to the end; false if that did not come in time.
bool read_to_end(int fd, std::chrono::milliseconds limit, std::string& text) {
  const auto deadline = std::chrono::steady_clock::now() + limit;
  std::array<char, 4096> buffer;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd readable{.fd = fd, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&readable, 1, static_cast<int>(std::max<std::chrono::milliseconds::rep>(left.count(), 0)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return false;
    const ssize_t length = ::read(fd, buffer.data(), buffer.size());
    if (length <= 0) return true;
    text.append(buffer.data(), static_cast<std::size_t>(length));
  }
}

Error no_namespace(char kind, const std::string& words) {
  const std::string what = "no private network namespace can be had: " + words;
  if (kind == kForbidden) {
    return {ErrorKind::permission, what +
                                       "; run as root, or allow user namespaces (kernel.unprivileged_userns_clone, "
                                       "user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)"};
  }
  return {ErrorKind::unavailable, what +
                                      "; the kernel needs CONFIG_NET_NS and CONFIG_PID_NS (and CONFIG_USER_NS for "
                                      "ordinary users), and room in user.max_*_namespaces"};
}

}  // namespace

Result<std::string> run_in_sandbox(const std::function<std::string()>& work, std::chrono::milliseconds limit) {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return Error{ErrorKind::unavailable, "no pipe for a probe"};
  const Descriptor reading(ends[0]);
  Descriptor writing(ends[1]);
  const pid_t self = ::getpid();
  const pid_t keeper = ::fork();
  if (keeper < 0) return Error{ErrorKind::unavailable, std::string("fork: ") + std::strerror(errno)};
  if (keeper == 0) keep(self, writing.get(), work);
  writing.reset();
  std::string text;
  const bool in_time = read_to_end(reading.get(), limit, text);
  if (!in_time) ::kill(keeper, SIGKILL);
  while (::waitpid(keeper, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!in_time) {
    return Error{ErrorKind::runtime, "did not end within " + std::to_string(limit.count()) + " ms and was killed"};
  }
  if (text.empty()) return Error{ErrorKind::runtime, "the probe died"};
  const std::string words = text.substr(1);
  if (text[0] != kAnswer) return no_namespace(text[0], words);
  return words;
}

}  // namespace limpet::divert
