// ip_sets.h: the sets that `-m set` looks into, from the output of `ipset save`.
//
//   create blocked hash:net family inet hashsize 1024 maxelem 65536     type = the parts of an element
//   add blocked 10.0.0.0/8
//   add blocked 10.1.0.0/16 nomatch                                    the longest prefix that fits decides
//   create web hash:ip,port family inet …
//   add web 10.0.0.1,tcp:80
//
//   set ── by prefix lengths, the longest first ──▶ hash of the masked parts ──▶ is it in?
//
//   key    two words a part: an address as it lies in memory; protocol and port, 0
//
// Parts: ip, net, port (hash and bitmap types), at most three. Elements that time out, and other parts (mac, mark, iface), cannot be
// honoured and are errors. Source: net/netfilter/ipset (Linux 6.12). Immutable once read; any thread.
// Cost: one probe for each combination of prefix lengths that occurs. A look allocates nothing. Packets choose what is
// looked for, but not what is in the set: the hash has no key.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "conntrack/net/address.h"
#include "conntrack/store/line_error.h"
#include "lb/rules/ruleset.h"

namespace limpet::rules {

class IpSet {
 public:
  enum class Part : std::uint8_t { address, port };
  static constexpr std::size_t kMostParts = 3;  // IPSET_DIM_MAX

  IpSet(net::Family family, std::vector<Part> parts) : family_(family), parts_(std::move(parts)) {}

  /// Is the packet in it, each part taken from the side that the rule names? No, if the rule names too few.
  bool contains(const net::Tuple& packet, const std::vector<SetMatch::Side>& sides) const noexcept;
  /// "10.0.0.1,tcp:80". False: that is no element of this type.
  bool add(std::string_view element, bool nomatch);

 private:
  using Lengths = std::array<unsigned, kMostParts>;  // of each part; a port's is 0
  using Key = std::array<std::uint64_t, 2 * kMostParts>;
  struct Hash {
    std::size_t operator()(const Key& key) const noexcept;
  };
  struct Element {
    Lengths lengths{};
    Key key{};
  };
  /// Of one combination of prefix lengths.
  struct Layer {
    Lengths lengths;
    std::unordered_map<Key, bool, Hash> elements;  // is it in?
  };

  static void put(Key& key, std::size_t part, const net::Address& address, unsigned length) noexcept;
  static void put(Key& key, std::size_t part, std::uint8_t protocol, std::uint16_t port) noexcept;
  bool parse(std::string_view text, Element& element) const;
  bool parse_part(std::size_t part, std::string_view text, Element& element) const;

  net::Family family_;
  std::vector<Part> parts_;    // at most kMostParts
  std::vector<Layer> layers_;  // the longest lengths first
};

struct IpSets {
  std::map<std::string, IpSet, std::less<>> sets;
  std::vector<store::LineError> errors;
};

/// `file` is what errors call it.
IpSets parse_ip_sets(std::string_view text, const std::string& file);

}  // namespace limpet::rules
