#include "bench/wire/counters.h"

#include <array>
#include <charconv>
#include <fstream>
#include <stdexcept>
#include <string_view>

#include <fcntl.h>
#include <sched.h>

namespace limpet::bench {
namespace {

UniqueFd open_read(const std::string& path) {
  return UniqueFd(check(::open(path.c_str(), O_RDONLY | O_CLOEXEC), path));
}

/// Opening the file binds it to the namespace of that moment: afterwards it can be read from anywhere.
UniqueFd open_in_netns(const std::string& netns, const std::string& path) {
  const UniqueFd home = open_read("/proc/thread-self/ns/net");
  const UniqueFd there = open_read(netns);
  check(::setns(there.get(), CLONE_NEWNET), "setns " + netns);
  UniqueFd file = open_read(path);
  check(::setns(home.get(), CLONE_NEWNET), "setns back");
  return file;
}

}  // namespace

InterfaceCounter::InterfaceCounter(const std::string& netns, const std::string& interface)
    : file_(open_in_netns(netns, "/proc/thread-self/net/dev")), label_(interface + ":") {
  read();  // fails now rather than in the loop if there is no such interface
}

std::uint64_t InterfaceCounter::read() const {
  std::array<char, 4096> text;
  const auto length = check(::pread(file_.get(), text.data(), text.size(), 0), "/proc/net/dev");
  std::string_view rest(text.data(), static_cast<std::size_t>(length));
  const auto line = rest.find(label_);
  if (line == rest.npos) throw std::runtime_error("no interface " + label_);
  rest.remove_prefix(line + label_.size());
  // "  veth0: BYTES PACKETS errs …": the second number.
  for (int field = 0; field < 2; ++field) {
    rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
    if (field == 0) rest.remove_prefix(std::min(rest.find(' '), rest.size()));
  }
  std::uint64_t packets = 0;
  if (std::from_chars(rest.data(), rest.data() + rest.size(), packets).ec != std::errc{}) {
    throw std::runtime_error("cannot read /proc/net/dev");
  }
  return packets;
}

std::chrono::nanoseconds CpuClock::idle() {
  std::ifstream file("/proc/stat");
  std::string label;
  std::array<std::int64_t, 8> ticks{};  // user nice system idle iowait irq softirq steal
  file >> label;
  for (auto& value : ticks) file >> value;
  if (!file) throw std::runtime_error("cannot read /proc/stat");
  return std::chrono::nanoseconds((ticks[3] + ticks[4] + ticks[7]) * (1'000'000'000 / ::sysconf(_SC_CLK_TCK)));
}

std::chrono::nanoseconds CpuClock::busy() const {
  const auto elapsed = std::chrono::steady_clock::now() - begin_time_;
  return ::sysconf(_SC_NPROCESSORS_ONLN) * elapsed - (idle() - begin_);
}

}  // namespace limpet::bench
