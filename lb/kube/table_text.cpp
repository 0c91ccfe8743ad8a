#include "lb/kube/table_text.h"

namespace limpet::kube {

std::vector<std::string>& TableText::rules_of(const std::string& chain, bool built_in) {
  const auto [place, fresh] = index_.emplace(chain, chains_.size());
  if (fresh) chains_.push_back({chain, built_in, {}});
  return chains_[place->second].rules;
}

std::string TableText::print() const {
  std::string text = "*" + name_ + "\n";
  for (const Chain& chain : chains_) text += ":" + chain.name + (chain.built_in ? " ACCEPT" : " -") + " [0:0]\n";
  for (const Chain& chain : chains_) {
    for (const std::string& rule : chain.rules) text += "-A " + chain.name + " " + rule + "\n";
  }
  return text + "COMMIT\n";
}

std::string comment(std::string_view text) {
  constexpr std::size_t kLongest = 255;  // XT_MAX_COMMENT_LEN less the NUL
  std::string quoted = "-m comment --comment \"";
  for (const char letter : text.substr(0, kLongest)) {
    if (letter == '"' || letter == '\\') quoted += '\\';
    quoted += letter;
  }
  return quoted + "\"";
}

}  // namespace limpet::kube
