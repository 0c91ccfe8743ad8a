#include "lb/datapath/decider.h"

namespace limpet::datapath {

std::string_view to_string(Action action) noexcept {
  constexpr std::string_view names[] = {"dnat", "reject", "drop", "none"};
  return names[static_cast<unsigned>(action)];
}

std::string_view to_string(AffinityOutcome outcome) noexcept {
  constexpr std::string_view names[] = {"none", "miss", "hit", "expired", "moved"};
  return names[static_cast<unsigned>(outcome)];
}

}  // namespace limpet::datapath
