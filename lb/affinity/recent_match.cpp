#include "lb/affinity/recent_match.h"

#include <bit>
#include <cstddef>

namespace limpet::affinity {
namespace {

store::Error invalid(const RecentMatch& match, const std::string& what) {
  return {store::ErrorKind::configuration, "recent: list '" + match.name + "': " + what};
}

/// xt_check_proc_name: the list becomes a file.
bool names_a_file(const std::string& name) {
  return !name.empty() && name.size() <= RecentMatch::kLongestName && name != "." && name != ".." &&
         name.find('/') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

net::Address RecentMask::apply(const net::Address& address) const noexcept {
  auto words = address.words();
  words[0] &= words_[0];
  words[1] &= words_[1];
  const auto bytes = std::bit_cast<std::array<std::byte, 16>>(words);
  return net::Address::from_wire(address.family(), bytes.data());
}

store::Status check(const RecentMatch& match) {
  const bool decides = match.operation == RecentOperation::rcheck || match.operation == RecentOperation::update;
  if (!decides && (match.seconds != 0 || match.hitcount != 0 || match.rttl || match.reap)) {
    return invalid(match,
                   "--set and --remove take no --seconds, --hitcount, --rttl or --reap; "
                   "use them with --rcheck or --update");
  }
  if (match.reap && match.seconds == 0) {
    return invalid(match, "--reap needs --seconds, the age at which an entry goes");
  }
  if (match.hitcount >= RecentMatch::kMostStamps) {
    return invalid(match, "--hitcount " + std::to_string(match.hitcount) +
                              " is more than an entry remembers; at most " +
                              std::to_string(RecentMatch::kMostStamps - 1));
  }
  if (!names_a_file(match.name)) {
    return invalid(match, "--name must do as a file's name: 1 to " + std::to_string(RecentMatch::kLongestName) +
                              " characters, no '/', not '.' or '..'");
  }
  return store::ok();
}

}  // namespace limpet::affinity
