#include "lb/divert/command.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <utility>

#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

namespace limpet::divert {

namespace {

using store::Error;
using store::ErrorKind;
using store::Result;

/// A file descriptor that closes itself.
class Descriptor {
 public:
  explicit Descriptor(int fd) noexcept : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const noexcept { return fd_; }

 private:
  int fd_;
};

Error system_error(const std::string& what, int error) {
  return {ErrorKind::unavailable, what + ": " + std::strerror(error)};
}

bool write_all(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(written));
  }
  return ::lseek(fd, 0, SEEK_SET) == 0;
}

std::string read_all(int fd) {
  std::string text;
  std::array<char, 16384> buffer;
  ::lseek(fd, 0, SEEK_SET);
  for (;;) {
    const ssize_t received = ::read(fd, buffer.data(), buffer.size());
    if (received <= 0) return text;
    text.append(buffer.data(), static_cast<std::size_t>(received));
  }
}

/// The program's path; empty if it is nowhere.
std::string find_program(const std::string& name) {
  const auto executable = [](const std::string& path) { return ::access(path.c_str(), X_OK) == 0; };
  if (name.find('/') != name.npos) return executable(name) ? name : std::string();
  const char* path = std::getenv("PATH");
  std::string folders = std::string(path != nullptr ? path : "/usr/bin:/bin") + ":/usr/sbin:/sbin";
  for (std::size_t begin = 0; begin <= folders.size();) {
    const std::size_t end = std::min(folders.find(':', begin), folders.size());
    const std::string candidate = folders.substr(begin, end - begin) + "/" + name;
    if (end > begin && executable(candidate)) return candidate;
    begin = end + 1;
  }
  return {};
}

/// posix_spawn with the three descriptors in place. 0, or the errno.
int spawn(const std::string& path, const std::vector<std::string>& arguments, const std::array<int, 3>& descriptors,
          pid_t& child) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  for (int target = 0; target < 3; ++target) {
    posix_spawn_file_actions_adddup2(&actions, descriptors[static_cast<std::size_t>(target)], target);
  }
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);

  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t reset;
  sigemptyset(&none);
  sigemptyset(&reset);
  sigaddset(&reset, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &reset);
  posix_spawnattr_setpgroup(&attributes, 0);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);

  std::vector<char*> argv;
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const int error = ::posix_spawn(&child, path.c_str(), &actions, &attributes, argv.data(), environ);
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  return error;
}

/// True if the child ended within the limit; otherwise it is killed. Either way it is reaped.
bool wait_for(pid_t child, std::chrono::milliseconds limit, int& status) {
  const Descriptor handle(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
  pollfd ended{.fd = handle.get(), .events = POLLIN, .revents = 0};
  const auto deadline = std::chrono::steady_clock::now() + limit;
  int ready = 0;
  do {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    ready = ::poll(&ended, 1, static_cast<int>(std::max<std::chrono::milliseconds::rep>(left.count(), 0)));
  } while (ready < 0 && errno == EINTR);
  if (ready == 0) ::kill(child, SIGKILL);
  int word = 0;
  while (::waitpid(child, &word, 0) < 0 && errno == EINTR) {
  }
  status = WIFEXITED(word) ? WEXITSTATUS(word) : 128 + WTERMSIG(word);
  return ready > 0;
}

bool mentions(std::string_view text, std::initializer_list<std::string_view> words) noexcept {
  return std::any_of(words.begin(), words.end(), [&](std::string_view word) { return text.find(word) != text.npos; });
}

/// Without blank lines and advice that does not apply, on one line.
std::string one_line(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view part = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (part.find_first_not_of(" \t\r") == part.npos || part.starts_with("Try `")) continue;
    if (!line.empty()) line += "; ";
    line += part;
  }
  return line;
}

}  // namespace

Result<Outcome> run(const std::vector<std::string>& arguments, std::string_view input,
                    std::chrono::milliseconds limit) {
  const std::string& name = arguments.front();
  const std::string path = find_program(name);
  if (path.empty()) return Error{ErrorKind::unavailable, name + ": not installed"};
  const Descriptor in(::memfd_create("stdin", MFD_CLOEXEC));
  const Descriptor out(::memfd_create("stdout", MFD_CLOEXEC));
  const Descriptor err(::memfd_create("stderr", MFD_CLOEXEC));
  if (in.get() < 0 || out.get() < 0 || err.get() < 0 || !write_all(in.get(), input)) {
    return system_error(name + ": cannot prepare its input", errno);
  }
  pid_t child = 0;
  if (const int error = spawn(path, arguments, {in.get(), out.get(), err.get()}, child)) {
    return system_error(path + ": cannot run it", error);
  }
  Outcome outcome;
  if (!wait_for(child, limit, outcome.status)) {
    return Error{ErrorKind::runtime,
                 name + ": did not end within " + std::to_string(limit.count()) + " ms and was killed"};
  }
  outcome.out = read_all(out.get());
  outcome.err = read_all(err.get());
  return outcome;
}

Error failure(std::string_view what, const Outcome& outcome) {
  const std::string words = one_line(outcome.err.empty() ? outcome.out : outcome.err);
  std::string message =
      std::string(what) + ": " + (words.empty() ? "exit status " + std::to_string(outcome.status) : words);
  if (mentions(words, {"Permission denied", "Operation not permitted", "you must be root", "must be run as root"})) {
    return {ErrorKind::permission, message + " (needs root, or CAP_NET_ADMIN in this network namespace)"};
  }
  if (mentions(words, {"xtables lock", "holding the lock"})) {
    return {ErrorKind::unavailable, message + " (another program is changing the rules; try again)"};
  }
  if (mentions(words, {"No such file or directory", "does not exist", "not supported", "No chain/target/match",
                       "Couldn't load", "Cannot open session to kernel", "can't initialize"})) {
    return {ErrorKind::unavailable, message + " (this kernel may lack the feature)"};
  }
  return {ErrorKind::runtime, message};
}

}  // namespace limpet::divert
