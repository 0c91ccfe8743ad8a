// fragment_table.h: what became of the first fragment of a datagram, for those that follow it.
//
// Only for nodes whose kernel does not put datagrams together before the hooks. The first fragment has ports and is
// translated as a packet is; its fate (dropped, or new addresses and mark) is remembered under the datagram's name as it
// stood at that hook, and each later fragment meets the same. A fragment that overtakes its first finds nothing: the
// caller lets none of a service's through, so no datagram is ever half translated.
//
//   shards    by the hash of the name (SipHash-1-3 under a secret key: senders choose the identification)
//   a shard   kWays entries; a new datagram takes an expired one, else the oldest, which is counted
//   lifetime  `timeout` from the first fragment (30 s, the kernel's net.ipv4.ipfrag_time; RFC 791 asks for 15 s and more)
//
// Cost: O(kWays). No allocation after start. Threads: any; a shard has a spin lock, which is a leaf.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "conntrack/flow/instant.h"
#include "conntrack/net/fragment.h"
#include "conntrack/store/siphash.h"
#include "conntrack/store/spinlock.h"

namespace limpet::flow {

/// What became of a first fragment.
struct FragmentFate {
  bool accept = false;  // false: dropped, and so are the others
  net::Address source;  // as they left
  net::Address destination;
  bool set_mark = false;
  std::uint32_t mark = 0;
};

struct FragmentTableOptions {
  std::uint32_t capacity = 4096;  // datagrams; rounded up to a multiple of kWays
  store::HashKey key;             // secret, drawn at random at start
  Seconds timeout{30};
};

class FragmentTable {
 public:
  static constexpr std::size_t kWays = 8;

  explicit FragmentTable(const FragmentTableOptions& options);
  FragmentTable(const FragmentTable&) = delete;
  FragmentTable& operator=(const FragmentTable&) = delete;

  /// Replaces what is known of a datagram of the same name. Returns false if a live datagram had to be forgotten for it.
  bool remember(const net::DatagramId& datagram, const FragmentFate& fate, Instant now) noexcept;
  /// nullopt: its first fragment was not seen, or too long ago.
  std::optional<FragmentFate> find(const net::DatagramId& datagram, Instant now) const noexcept;

 private:
  struct Entry {
    net::DatagramId datagram;
    FragmentFate fate;
    Instant deadline{};  // free when in the past
  };
  struct Shard;

  store::HashKey key_;
  Seconds timeout_;
  std::vector<Shard> shards_;
};

}  // namespace limpet::flow
