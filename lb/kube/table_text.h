// table_text.h: one table of iptables rules as iptables-save writes it, put together chain by chain.
//
//   *nat
//   :PREROUTING ACCEPT [0:0]        chains in the order in which they were first named; a user's has the policy "-"
//   :KUBE-SERVICES - [0:0]
//   -A PREROUTING … -j KUBE-SERVICES    then the rules, chain by chain, each chain's in the order of append()
//   COMMIT
//
// Rules are given without "-A CHAIN". Comments are quoted, and cut to what the kernel takes. Plain values; any thread.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace limpet::kube {

class TableText {
 public:
  explicit TableText(std::string_view name) : name_(name) {}

  /// A chain that may stay without rules.
  void declare(const std::string& chain) { rules_of(chain); }
  /// One of the kernel's own: it has a policy, ACCEPT.
  void declare_built_in(const std::string& chain) { rules_of(chain, true); }
  void append(const std::string& chain, std::string rule) { rules_of(chain).push_back(std::move(rule)); }

  std::string print() const;

 private:
  struct Chain {
    std::string name;
    bool built_in = false;
    std::vector<std::string> rules;
  };
  std::vector<std::string>& rules_of(const std::string& chain, bool built_in = false);

  std::string name_;
  std::vector<Chain> chains_;
  std::unordered_map<std::string, std::size_t> index_;
};

/// `-m comment --comment "text"`
std::string comment(std::string_view text);

}  // namespace limpet::kube
