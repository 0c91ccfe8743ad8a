#include "tests/wire/divert_private_network.h"

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <unistd.h>

namespace limpet::test {

namespace {

std::string because(const std::string& what) {
  return what + ": " + std::strerror(errno);
}

bool write_file(const char* path, const std::string& text) {
  std::ofstream file(path);
  file << text << std::flush;
  return file.good();
}

/// Become root of a new user namespace, from user 65534.
std::string enter_user_namespace() {
  constexpr uid_t kNobody = 65534;
  if (::getuid() == 0 && (::setresgid(kNobody, kNobody, kNobody) != 0 || ::setresuid(kNobody, kNobody, kNobody) != 0)) {
    return because("cannot become user 65534");
  }
  ::prctl(PR_SET_DUMPABLE, 1);  // a process that changed its user does not own its /proc files otherwise
  const std::string user = std::to_string(::getuid());
  const std::string group = std::to_string(::getgid());
  if (::unshare(CLONE_NEWUSER) != 0) return because("no unprivileged user namespaces here");
  const bool mapped = write_file("/proc/self/setgroups", "deny") &&
                      write_file("/proc/self/uid_map", "0 " + user + " 1") &&
                      write_file("/proc/self/gid_map", "0 " + group + " 1");
  return mapped ? "" : because("cannot map the user");
}

divert::Outcome run_words(const std::string& command) {
  std::istringstream stream(command);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  const auto outcome = divert::run(words);
  return outcome ? *outcome : divert::Outcome{127, "", outcome.error().message};
}

}  // namespace

std::string enter_private_network(Privilege privilege) {
  if (privilege == Privilege::as_is && ::geteuid() != 0) return "needs root";
  if (privilege == Privilege::rootless) {
    if (const std::string reason = enter_user_namespace(); !reason.empty()) return reason;
  }
  if (::unshare(CLONE_NEWNET | CLONE_NEWNS) != 0) return because("cannot make namespaces");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
      ::mount("tmpfs", "/run", "tmpfs", 0, nullptr) != 0) {
    return because("cannot mount a private /run");
  }
  must("ip link set lo up");
  return "";
}

std::string must(const std::string& command) {
  const divert::Outcome outcome = run_words(command);
  EXPECT_TRUE(outcome.ok()) << command << ": " << outcome.err;
  return outcome.out;
}

std::string attempt(const std::string& command) {
  const divert::Outcome outcome = run_words(command);
  return outcome.ok() ? outcome.out : "";
}

}  // namespace limpet::test
