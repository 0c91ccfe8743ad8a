// packet_text.h: packets as golden files write them (the language: tests/golden/README.md).
//
//   Cast          names for addresses, so that one file can be played in IPv4 and in IPv6
//   read_packet   PROTOCOL SOURCE > DESTINATION FIELD …     up to the end of the line, or of the quotation
#pragma once

#include <map>
#include <string>

#include "tests/golden/runner/packet_spec.h"
#include "tests/golden/runner/words.h"

namespace limpet::golden {

class Cast {
 public:
  explicit Cast(bool v4);

  bool v4() const noexcept { return v4_; }
  bool knows(const std::string& who) const { return names_.contains(who); }
  void name(const std::string& who, const std::string& ipv4, const std::string& ipv6);
  /// A name's address, or the text itself, which must be an address of the family played.
  std::string address(const std::string& text) const;

  struct End {
    std::string address;
    unsigned port = 0;
  };
  /// "vip:80", "10.0.0.1:80", "[fd00::1]:80".
  End end(const std::string& text) const;

 private:
  bool v4_;
  std::map<std::string, std::string> names_;
};

PacketSpec read_packet(Words& words, const Cast& cast);

}  // namespace limpet::golden
