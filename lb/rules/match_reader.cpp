#include "lb/rules/match_reader.h"

namespace limpet::rules {

bool MatchReader::read(Options& options) {
  if (given(options.name()) || !take(options)) return false;
  seen_.insert(options.name());
  return true;
}

std::unique_ptr<MatchReader> make_match_reader(std::string_view name, net::Family family) {
  auto reader = make_packet_match_reader(name, family);
  return reader ? std::move(reader) : make_state_match_reader(name, family);
}

}  // namespace limpet::rules
